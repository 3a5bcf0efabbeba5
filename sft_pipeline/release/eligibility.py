"""What may be released: a passed gate of exactly these artifacts, capabilities in their margins, accepted exports."""

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from sft_pipeline.artifacts import (
    AdapterSnapshot,
    Artifact,
    CapabilityReport,
    ComparatorGenerations,
    ExportReport,
    GateReport,
    Generations,
    GuardReport,
    InstructionDataset,
    TrainingPlan,
    TrainingReport,
    eligibility,
)
from sft_pipeline.experiment import Experiment
from sft_pipeline.model.adapter_fit import dead
from sft_pipeline.provenance.hashing import hash_value
from sft_pipeline.provenance.verification import link_problems

A = TypeVar("A", bound=Artifact)

PARTS = (
    "raw_dataset",
    "clean_dataset",
    "train_split",
    "dev_split",
    "test_split",
    "base_model",
    "base_model_guard",
    "training_plan",
    "lora_adapter",
    "training_report",
    "base_generations",
    "sft_generations",
    "gate_report",
)
"""The assets that a release is made of, in the order in which data flows."""

OPTIONAL = (
    "comparator_generations",
    "checkpoint_series",
    "capability_report",
    "review_request",
    "human_review",
    "model_exports",
)
"""Assets that go into it where the lineage has them."""


def problems(found: Mapping[str, Artifact], experiment: Experiment, name: str) -> list[str]:
    """Why these artifacts may not be released, a sentence each.

    Args:
        found: the artifacts, by asset.
        experiment: the specification as it is now.
        name: of the experiment.
    """
    missing = [asset for asset in PARTS if asset not in found]
    if experiment.export.kinds and "model_exports" not in found:
        missing.append("model_exports")
    if experiment.evaluation.capabilities and "capability_report" not in found:
        missing.append("capability_report")
    if missing:
        return [f"{', '.join(missing)} is not stored; materialize it: sft-pipeline run {name}"]
    gate = part(found, "gate_report", GateReport)
    report: list[str] = []
    if gate.verdict != "pass":
        against = "; ".join(r.criterion for r in gate.reasons if r.outcome in ("fail", "refused"))
        report.append(
            f"the gate's verdict is {gate.verdict} ({against}); it can be published as a report (--report), not as a release"
        )
    adapter, test = part(found, "lora_adapter", AdapterSnapshot), part(found, "test_split", InstructionDataset)
    report += link_problems(found, name)
    report += eligibility.guard_problems(part(found, "base_model_guard", GuardReport))
    train = part(found, "train_split", InstructionDataset)
    report += eligibility.plan_problems(part(found, "training_plan", TrainingPlan), train.rows)
    report += eligibility.split_problems(test, adapter.training_data)
    report += eligibility.training_problems(part(found, "training_report", TrainingReport))
    if dead(adapter.path("adapter/adapter_model.safetensors")):
        report.append("dead adapter: every lora_B of it is zero, so that it is its base")
    report += _specification(found, experiment)
    exports = found.get("model_exports")
    if isinstance(exports, ExportReport):
        report += [f"export {r.kind}: {r.verdict}: {r.detail}" for r in exports.refused]
        if [r.kind for r in exports.results] != list(experiment.export.kinds):
            report.append("model_exports: the specification declares others; materialize it again")
    capabilities = found.get("capability_report")
    if isinstance(capabilities, CapabilityReport):
        report += [f"capabilities: {problem}" for problem in capabilities.problems]
    return report


def part(found: Mapping[str, Artifact], asset: str, kind: type[A]) -> A:
    """The artifact of an asset, as the type that it has."""
    artifact = found[asset]
    assert isinstance(artifact, kind), f"{asset} is a {type(artifact).__name__}"
    return artifact


def _specification(found: Mapping[str, Artifact], experiment: Experiment) -> list[str]:
    """Where the specification says something else than what the artifacts were made with.

    A field that they do not know, such as one of a later version, is left out: its key tells whether they still stand.
    """
    manifest = json.loads(found["lora_adapter"].path("training_manifest.json").read_text("utf-8"))
    gate = json.loads(found["gate_report"].path("gate.json").read_text("utf-8"))
    decoding = json.loads(part(found, "sft_generations", Generations).conditions["decoding"])
    training = experiment.training.completed(manifest.get("plan", {}).get("settings", {}))
    sections: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
        "training": (training.cache_key, manifest["hyperparameters"]),
        "prompt": (experiment.prompt.model_dump(mode="json"), manifest["prompt"]),
        "model": (experiment.model.loading, manifest["model"]),
        "generation": (experiment.generation.model_dump(mode="json"), decoding),
        "evaluation.gate": (experiment.evaluation.gate.model_dump(mode="json"), gate["gate"]),
    }
    other = [
        f"{section}.{name}"
        for section, (declared, recorded) in sections.items()
        for name in declared
        if name in recorded and declared[name] != recorded[name]
    ]
    other += _other_comparators(found, experiment)
    if not other:
        return []
    return [
        f"the specification says another {', '.join(other)} than the artifacts were made with; run the experiment again, or "
        "take the edit back"
    ]


def _other_comparators(found: Mapping[str, Artifact], experiment: Experiment) -> list[str]:
    """The comparators that are declared otherwise than they answered, or that the gate did not judge."""
    judged = {c.name for c in part(found, "gate_report", GateReport).comparators}
    prompted = found.get("comparator_generations")
    made = prompted.comparators if isinstance(prompted, ComparatorGenerations) else {}
    answered = {name: answers.conditions["prompt"] for name, answers in made.items() if name in judged}
    asked = {name: hash_value(spec.model_dump(mode="json")) for name, spec in experiment.evaluation.comparators.items()}
    differing = sorted(n for n in asked.keys() | answered.keys() if asked.get(n) != answered.get(n))
    return [f"evaluation.comparators.{name}" for name in differing]
