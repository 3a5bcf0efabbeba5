"""What must hold before the two models may be compared at all; whatever does not makes the gate refuse."""

from collections import Counter
from collections.abc import Mapping, Sequence

from sft_pipeline.artifacts import Artifact, Generations, GuardReport, InstructionDataset, Reason, TrainingReport
from sft_pipeline.experiment import Gate


def preconditions(
    test: InstructionDataset,
    base: Generations,
    sft: Generations,
    guard: GuardReport,
    training: TrainingReport,
    gate: Gate,
) -> list[Reason]:
    """Everything besides the items that must be in order before a comparison means anything.

    Same generation conditions, a base that is a base, a healthy training, no leakage, data within their thresholds and
    few answers cut at the token limit.
    """

    def reason(criterion: str, problems: Sequence[str], fine: str) -> Reason:
        return Reason(
            criterion=criterion,
            outcome="refused" if problems else "pass",
            detail="; ".join(problems) if problems else fine,
        )

    roles = [
        f"{g.model} generations stand in the place of {m}" for g, m in ((base, "base"), (sft, "sft")) if g.model != m
    ]
    differing = [] if base.conditions else ["the base generations do not record their conditions"]
    differing += [
        f"{name}: {base.conditions.get(name, 'not recorded')} (base), {sft.conditions.get(name, 'not recorded')} (sft)"
        for name in sorted(base.conditions.keys() | sft.conditions.keys())
        if base.conditions.get(name) != sft.conditions.get(name)
    ]
    proof = test.proof
    if proof is None:
        leaks = ["the test split carries no leakage proof"]
    elif proof.clean:
        leaks = []
    else:
        leaks = [
            f"{proof.exact} exact, {proof.near} near-duplicate, {proof.groups} group and {proof.contained_over_limit} "
            f"contained items of the test split leak into training ({proof.against})"
        ]
    quality = [
        f"{t.name} is {t.value:g}, {t.direction} {t.limit:g} is declared" for t in test.thresholds if not t.passed
    ]
    sick = [f"{f.rule}: {f.evidence}" for f in training.findings if f.severity == "blocking"]
    cut = [
        f"{100 * g.truncated_share:.1f} % of the {g.model} answers were cut at the token limit, at most "
        f"{100 * gate.max_truncated_share:.0f} % are accepted: raise generation.max_new_tokens or give generation.stop"
        for g in (base, sft)
        if g.truncated_share > gate.max_truncated_share
    ]
    mixed = _mixed_origin({"test split": test, "base": base, "sft": sft, "guard": guard, "diagnosis": training})
    return [
        reason("same origin", mixed, "all of it rests on the same base model, adapter and test split"),
        reason("same conditions", roles + differing, f"{', '.join(sorted(base.conditions))} are the same for both models"),
        reason("base model guard", guard.problems, "the base behaves like a base"),
        reason("training", sick, "no blocking finding"),
        reason("leakage", leaks, "no test item occurs in training, exactly or nearly"),
        reason("data quality", quality, f"{len(test.thresholds)} declared thresholds hold" if test.thresholds else "no failed threshold"),
        reason("truncation", cut, f"{100 * base.truncated_share:.1f} % (base) and {100 * sft.truncated_share:.1f} % (sft) of the answers were cut"),
    ]  # fmt: skip


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


def same_items(rows: Sequence[Mapping], base: Sequence[Mapping], sft: Sequence[Mapping]) -> tuple[Reason, set[str]]:
    """Whether all three tables hold the same items once each, and the ids that they have in common without doubt."""
    names = ("test split", "base generations", "sft generations")
    counts = [Counter(row["id"] for row in table) for table in (rows, base, sft)]
    problems = []
    for name, count in zip(names, counts, strict=True):
        if twice := [id for id, number in count.items() if number > 1]:
            problems.append(f"{name}: {some(twice)} more than once")
        if missing := list(counts[0].keys() - count.keys()):
            problems.append(f"{name}: {some(missing)} missing")
        if extra := list(count.keys() - counts[0].keys()):
            problems.append(f"{name}: {some(extra)} not in the test split")
    if not rows:
        problems.append("the test split is empty")
    common = {id for id in counts[0] if all(count[id] == 1 for count in counts)}
    detail = "; ".join(problems) or f"the same {len(rows)} items once each, joined by id"
    return Reason(criterion="same items", outcome="refused" if problems else "pass", detail=detail), common


def some(ids: Sequence[str]) -> str:
    """How many ids and the first three of them, for a message."""
    return f"{len(ids)} items ({', '.join(sorted(ids)[:3])}{', …' if len(ids) > 3 else ''})"
