"""Exports of the gated adapter, and the release."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_pipeline.artifacts import (
    AdapterSnapshot,
    Artifact,
    CapabilityReport,
    ComparatorGenerations,
    ExportReport,
    GateReport,
    Generations,
    GuardReport,
    HumanReview,
    InstructionDataset,
    ModelSnapshot,
    ReleaseSnapshot,
    ReviewRequest,
    SeriesReport,
    TrainingPlan,
    TrainingReport,
)
from sft_pipeline.lineage import asset_checks, metadata
from sft_pipeline.lineage.asset import SCORERS, Check
from sft_pipeline.lineage.dependencies import decoding, judging
from sft_pipeline.lineage.resources import user_errors
from sft_pipeline.lineage.step import Work, step
from sft_pipeline.lineage.tags import RELEASE

if TYPE_CHECKING:
    from sft_pipeline.experiment import Experiment


def _exporting(experiment: "Experiment", root: Path) -> dict[str, Any]:
    if not experiment.export.kinds:
        return {"export": experiment.export}
    from sft_pipeline.release.export.exports import supplied

    with user_errors():
        outputs = supplied(experiment, root)
    parts = {"export": experiment.export, "outputs": outputs, "training": experiment.model.loading}
    return {**decoding(experiment), **judging(experiment, root), **parts}


def _gate_passed(work: Work, gate_report: GateReport, **_: Any) -> None:
    from sft_pipeline.artifacts import eligibility

    problems = [] if gate_report.verdict == "pass" else [f"gate: its verdict is {gate_report.verdict}"]
    eligibility.require("export", problems if work.experiment.export.kinds else [])


@step(
    ExportReport,
    group=RELEASE,
    docs="docs/how-to/release.md",
    code=["release/export/exports.py", "generation/engines", *SCORERS],
    depends=_exporting,
    require=_gate_passed,
    metadata=metadata.exports,
    checks=[Check(asset_checks.exports_are_the_adapter)],
    kinds=["safetensors"],
    cuda=True,
)
def model_exports(
    work: Work,
    base_model: ModelSnapshot,
    test_split: InstructionDataset,
    lora_adapter: AdapterSnapshot,
    base_generations: Generations,
    sft_generations: Generations,
    gate_report: GateReport,
) -> ExportReport:
    """The declared exports, each held against the gated adapter item by item; none where none is declared."""
    from sft_pipeline.release.export.exports import export

    answers = base_generations, sft_generations
    return export(work.experiment, base_model, lora_adapter, test_split, *answers, work.root, work.folder, work.out)


@step(
    ReleaseSnapshot,
    group=RELEASE,
    docs="docs/how-to/release.md",
    code=["release/build.py"],
    borders={"provenance/store": "where artifacts lie"},
    depends=lambda experiment, root: {"specification": experiment},
    metadata=metadata.release,
    kinds=["safetensors", "json"],
)
def release(
    work: Work,
    raw_dataset: InstructionDataset,
    clean_dataset: InstructionDataset,
    train_split: InstructionDataset,
    dev_split: InstructionDataset,
    test_split: InstructionDataset,
    base_model: ModelSnapshot,
    base_model_guard: GuardReport,
    training_plan: TrainingPlan,
    lora_adapter: AdapterSnapshot,
    training_report: TrainingReport,
    base_generations: Generations,
    sft_generations: Generations,
    gate_report: GateReport,
    comparator_generations: ComparatorGenerations,
    checkpoint_series: SeriesReport,
    capability_report: CapabilityReport,
    review_request: ReviewRequest,
    human_review: HumanReview,
    model_exports: ExportReport,
) -> ReleaseSnapshot:
    """The release folder: adapter, reports, cards, provenance and `verify.py`; only from a passed gate of exactly these."""
    from sft_pipeline.release.build import build

    found: dict[str, Artifact] = {name: value for name, value in locals().items() if isinstance(value, Artifact)}
    return build(found, work.experiment, work.context.partition_key, work.out, link=not work.store.remote)
