"""The frozen values that travel between assets.

An artifact is small: it names files by path and hash and carries the figures that a reader wants first. Weights and
rows stay in the files. Two artifacts with the same content have the same `digest`, whatever time they took and on
whatever machine they were made: timings stand in `measurements` and in the files of `VOLATILE`, which are checked for
integrity but are no part of the identity.
"""

from sft_pipeline.artifacts.artifact import Artifact, FileRef, Frozen
from sft_pipeline.artifacts.capabilities import (
    BenchmarkResult,
    CapabilityReport,
    CapabilityVerdict,
    ModelScore,
    Perplexity,
)
from sft_pipeline.artifacts.data import (
    DuplicateClusters,
    FilterOutcome,
    InstructionDataset,
    LeakageProof,
    LeakedPair,
    LengthDistribution,
    QualityManifest,
    RejectedSample,
    SourceFiles,
    Threshold,
)
from sft_pipeline.artifacts.evaluation import (
    Agreement,
    ComparisonReport,
    Figures,
    GateReport,
    Generations,
    GroupResult,
    LengthAdjusted,
    LengthRule,
    MeanScore,
    ModelComparison,
    ModelRate,
    ProtectedResult,
    Reason,
    ScoreComparison,
    ScoreReport,
    Sensitivity,
    SeriesPoint,
    SeriesReport,
)
from sft_pipeline.artifacts.model import GuardReport, ModelSnapshot, SentinelResult
from sft_pipeline.artifacts.release import ExportReport, ExportResult, ReleaseSnapshot
from sft_pipeline.artifacts.training import AdapterSnapshot, Finding, TrainingPlan, TrainingReport

__all__ = [
    "AdapterSnapshot",
    "Agreement",
    "Artifact",
    "BenchmarkResult",
    "CapabilityReport",
    "CapabilityVerdict",
    "ComparisonReport",
    "DuplicateClusters",
    "ExportReport",
    "ExportResult",
    "Figures",
    "FileRef",
    "FilterOutcome",
    "Finding",
    "Frozen",
    "GateReport",
    "Generations",
    "GroupResult",
    "GuardReport",
    "InstructionDataset",
    "LeakageProof",
    "LeakedPair",
    "LengthAdjusted",
    "LengthDistribution",
    "LengthRule",
    "MeanScore",
    "ModelComparison",
    "ModelRate",
    "ModelScore",
    "ModelScore",
    "ModelSnapshot",
    "Perplexity",
    "ProtectedResult",
    "QualityManifest",
    "Reason",
    "RejectedSample",
    "ReleaseSnapshot",
    "Sensitivity",
    "SentinelResult",
    "ScoreComparison",
    "ScoreReport",
    "SeriesPoint",
    "SeriesReport",
    "SourceFiles",
    "Threshold",
    "TrainingPlan",
    "TrainingReport",
]
