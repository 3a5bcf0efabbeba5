"""The schema of a specification, and nothing else.

One YAML file under `specs/` is one experiment; `specification.py` reads it. Unknown keys are errors, values are never
coerced from a wrong type, and every field says what it does: the JSON Schema for editors is made from these texts.
"""

from sft_pipeline.experiment.capabilities import Benchmark, BenchmarkSource, Capabilities
from sft_pipeline.experiment.data import (
    BenchmarkFile,
    Columns,
    Conversations,
    Critic,
    Data,
    DataOnly,
    Duplicates,
    EmbeddedData,
    ExpectedData,
    FileData,
    HubData,
    Leakage,
    PersonalData,
    Quality,
    Semantic,
    Split,
    TokenBounds,
    Toxicity,
)
from sft_pipeline.experiment.evaluation import (
    Comparator,
    Evaluation,
    EvaluationOnly,
    Gate,
    Live,
    Protected,
    Review,
    ScorerSpec,
    Series,
)
from sft_pipeline.experiment.experiment import Experiment
from sft_pipeline.experiment.generation import Generation, Prompt, Sampling
from sft_pipeline.experiment.model import Architecture, BaseModelSpec, EmbeddedBase, FolderBase, HubBase, Sentinel
from sft_pipeline.experiment.release import Export, Release
from sft_pipeline.experiment.search import Parameter, Search, SearchBudget
from sft_pipeline.experiment.section import FileName, Positive, Section, Seed, Share
from sft_pipeline.experiment.training import EarlyStopping, Lora, SuccessCriteria, Training

__all__ = [
    "Architecture",
    "BaseModelSpec",
    "Benchmark",
    "BenchmarkFile",
    "BenchmarkSource",
    "Capabilities",
    "Columns",
    "Comparator",
    "Conversations",
    "Critic",
    "Data",
    "DataOnly",
    "Duplicates",
    "EarlyStopping",
    "EmbeddedBase",
    "EmbeddedData",
    "Evaluation",
    "EvaluationOnly",
    "ExpectedData",
    "Experiment",
    "Export",
    "FileData",
    "FileName",
    "FolderBase",
    "Gate",
    "Generation",
    "HubBase",
    "HubData",
    "Leakage",
    "Live",
    "Lora",
    "Parameter",
    "PersonalData",
    "Positive",
    "Prompt",
    "Protected",
    "Quality",
    "Release",
    "Review",
    "Sampling",
    "ScorerSpec",
    "Search",
    "SearchBudget",
    "Section",
    "Seed",
    "Semantic",
    "Sentinel",
    "Series",
    "Share",
    "Split",
    "SuccessCriteria",
    "TokenBounds",
    "Toxicity",
    "Training",
]
