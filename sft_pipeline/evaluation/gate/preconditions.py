"""What must hold before the two models may be compared at all; whatever does not makes the gate refuse."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence

from sft_pipeline.artifacts import (
    Artifact,
    ComparatorGenerations,
    Generations,
    GuardReport,
    InstructionDataset,
    Reason,
    TrainingReport,
)
from sft_pipeline.artifacts.eligibility import split_problems
from sft_pipeline.evaluation.gate.criteria.formatting import some
from sft_pipeline.evaluation.gate.criteria.registry import precondition
from sft_pipeline.evaluation.scoring.score import LeftOut


def preconditions(
    test: InstructionDataset,
    base: Generations,
    sft: Generations,
    guard: GuardReport,
    training: TrainingReport,
    comparators: ComparatorGenerations | None = None,
) -> list[Reason]:
    """Everything besides the items that must be in order before a comparison means anything.

    Same generation conditions, greedy decoding, a base that is a base, a healthy training, no leakage, and data within their
    thresholds.
    """

    def reason(id: str, problems: Sequence[str], fine: str) -> Reason:
        return precondition(id, "refused" if problems else "pass", "; ".join(problems) or fine)

    roles = [
        f"{g.model} generations stand in the place of {m}" for g, m in ((base, "base"), (sft, "sft")) if g.model != m
    ]
    differing = [] if base.conditions else ["the base generations do not record their conditions"]
    differing += [
        f"{name}: {base.conditions.get(name, 'not recorded')} (base), {sft.conditions.get(name, 'not recorded')} (sft)"
        for name in sorted(base.conditions.keys() | sft.conditions.keys())
        if base.conditions.get(name) != sft.conditions.get(name)
    ]
    quality = [
        f"{t.name} is {t.value:g}, {t.direction} {t.limit:g} is declared" for t in test.thresholds if not t.passed
    ]
    unhealthy = [f"{f.rule}: {f.evidence}" for f in training.findings if f.severity == "blocking"]
    used = {"test split": test, "base": base, "sft": sft, "guard": guard, "diagnosis": training}
    mixed = _mixed_origin(used | ({"comparators": comparators} if comparators else {}))
    return [
        reason("same_origin", mixed, "all of it rests on the same base model, adapter and test split"),
        reason("same_conditions", roles + differing, f"{', '.join(sorted(base.conditions))} are the same for both models"),
        reason("decoding", _sampled(base, sft), "greedy for both models"),
        reason("base_model_guard", guard.problems, "the base behaves like a base"),
        reason("training", unhealthy, "no blocking finding"),
        reason("leakage", split_problems(test), "no test item occurs in training, exactly or nearly"),
        reason("data_quality", quality, f"{len(test.thresholds)} declared thresholds hold" if test.thresholds else "no failed threshold"),
        *_precision(sft),
    ]  # fmt: skip


def _sampled(*generations: Generations) -> list[str]:
    """Which of the models did not answer greedily, or does not say how."""
    problems = []
    for made in generations:
        try:
            decoding = json.loads(made.conditions.get("decoding", ""))
        except ValueError:
            problems.append(f"the {made.model} generations do not record their decoding")
            continue
        if sampling := decoding.get("sampling"):
            settings = ", ".join(f"{name} {value}" for name, value in sampling.items() if value is not None)
            problems.append(
                f"the {made.model} answers are a random sample ({settings}): another seed gives another verdict; remove "
                "generation.sampling"
            )
    return problems


def _precision(sft: Generations) -> list[Reason]:
    """An adapter that answers on another precision than it was trained on: allowed, and reported."""
    other = [
        f"{name} {trained} in training, {sft.conditions[name]} in the answers"
        for name, trained in sorted(sft.trained_on.items())
        if name in sft.conditions and sft.conditions[name] != trained
    ]
    if not sft.trained_on:
        return []
    detail = "the adapter answers on the precision that it was trained on"
    if other:
        detail = (
            f"the adapter was trained on a base of another precision than it is judged on: {'; '.join(other)}. The verdict is "
            "about the adapter as it is judged"
        )
    return [precondition("precision", "info" if other else "pass", detail)]


def _mixed_origin(artifacts: Mapping[str, Artifact]) -> list[str]:
    """Inputs of which two artifacts used different versions, such as the diagnosis of another adapter."""
    used: dict[str, dict[str, str]] = {"test_split": {"test split": artifacts["test split"].version}}
    for name, artifact in artifacts.items():
        for asset, version in artifact.upstream.items():
            used.setdefault(asset, {})[name] = version
    return [
        f"{asset} differs: " + ", ".join(f"{version[:12]} ({name})" for name, version in versions.items())
        for asset, versions in used.items()
        if len(set(versions.values())) > 1
    ]


LISTED = 5
"""Items that a reason names."""


def bad_references(out: Sequence[LeftOut], asked: int) -> list[Reason]:
    """Which items are left out because their scorer cannot use their reference; nothing where there are none."""
    if not out:
        return []
    listed = "; ".join(str(one) for one in out[:LISTED]) + ("; …" if out[LISTED:] else "")
    return [
        precondition("bad_references", "info", f"{len(out)} of {asked} items are left out for both models: {listed}")
    ]


def same_items(tables: Mapping[str, Sequence[str]]) -> tuple[Reason, set[str]]:
    """Whether all tables hold the same items once each, and the ids that they have in common without doubt.

    Args:
        tables: ids by the name of their table; the first one says which items there should be.
    """
    counts = {name: Counter(ids) for name, ids in tables.items()}
    first, wanted = next(iter(counts.items()))
    problems = []
    for name, count in counts.items():
        if twice := [id for id, number in count.items() if number > 1]:
            problems.append(f"{name}: {some(twice)} more than once")
        if missing := list(wanted.keys() - count.keys()):
            problems.append(f"{name}: {some(missing)} missing")
        if extra := list(count.keys() - wanted.keys()):
            problems.append(f"{name}: {some(extra)} not in the {first}")
    if not wanted:
        problems.append(f"the {first} is empty")
    common = {id for id in wanted if all(count[id] == 1 for count in counts.values())}
    detail = "; ".join(problems) or f"the same {len(wanted)} items once each, joined by id"
    return precondition("same_items", "refused" if problems else "pass", detail), common
