"""Blocking checks: where a mistake would cost GPU time or trust, the run stops here.

A check looks at what was stored, not at what the step believed. Each takes the artifact of its asset, and those of further
assets by their name; which asset it belongs to is declared with the asset.
"""

import warnings
from collections.abc import Iterator
from inspect import Parameter, Signature, getdoc, signature
from typing import Any

import dagster as dg

from sft_pipeline import artifacts as a
from sft_pipeline.lineage import metadata
from sft_pipeline.lineage.asset import ASSETS, Check

# Partitioned checks are a preview in this Dagster version, which is pinned; without them a check of one experiment
# would stand for all of them.
warnings.filterwarnings("ignore", category=dg.PreviewWarning, message=".*partitions_def.*AssetCheckSpec.*")

FAILED = "failed check "
"""How the log line of a failed check begins; the terminal shows the check's own event."""

QUALITY = {
    "kept_share": "Enough of the raw rows were kept after filters and duplicates.",
    "runaway_share": "Few of the raw responses went on to a new prompt.",
    "truncated_share": "Few of the raw responses ended in the middle of a sentence.",
    "token_limit_share": "Few of the raw responses were cut by the token limit under which they were generated.",
    "delimiters_in_kept_rows": "No kept row holds a training delimiter or a chat-template marker.",
    "median_response_tokens": "The median response is as short as the experiment wants it.",
    "acceptance_instruction": "The critic of instructions accepted enough of the rows that it judged.",
    "acceptance_pair": "The critic of pairs accepted enough of the rows that it judged.",
}
"""The thresholds of the clean dataset: a check each, in one step."""


def build_checks(partitions: dg.PartitionsDefinition) -> list[dg.AssetChecksDefinition]:
    """The checks of all assets, each belonging to its experiment's partition."""
    return [_build(name, check, partitions) for name, asset in ASSETS.items() for check in asset.checks]


def _build(asset: str, check: Check, partitions: dg.PartitionsDefinition) -> dg.AssetChecksDefinition:
    function = check.function
    names = [asset, *list(signature(function).parameters)[1:]]

    def compute(context: dg.AssetCheckExecutionContext, **artifacts: a.Artifact) -> Any:
        made = function(*(artifacts[name] for name in names))
        results = [made] if isinstance(made, dg.AssetCheckResult) else list(made)
        for result in results:
            if not result.passed:  # the error with which Dagster stops the run names the check alone
                context.log.error(f"{FAILED}{result.check_name or function.__name__}: {result.description}")
        # Dagster takes several results from a generator; those of a tuple would be outputs, and no check would be evaluated.
        return (result for result in results) if check.several else made

    kinds = {"context": dg.AssetCheckExecutionContext} | {name: ASSETS[name].type for name in names}
    compute.__signature__ = Signature(  # type: ignore[attr-defined]
        [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, annotation=kind) for name, kind in kinds.items()]
    )
    if check.several:
        specs = [
            dg.AssetCheckSpec(name, asset=asset, description=text, blocking=True, partitions_def=partitions)
            for name, text in check.several.items()
        ]
        return dg.multi_asset_check(name=function.__name__, specs=specs)(compute)
    further = {name: dg.AssetIn(name) for name in names[1:]}
    return dg.asset_check(
        asset=asset,
        name=function.__name__,
        description=getdoc(function),
        additional_ins=further,
        blocking=True,
        partitions_def=partitions,
    )(compute)


def unreadable_share(data: a.InstructionDataset) -> dg.AssetCheckResult:
    """No more rows of the source than declared could not be read."""
    return _threshold(data, "unreadable_share")


def quality_thresholds(data: a.InstructionDataset) -> Iterator[dg.AssetCheckResult]:
    """Every declared threshold of the quality stage is kept."""
    return (_threshold(data, name) for name in QUALITY)


def dev_does_not_leak(split: a.InstructionDataset) -> dg.AssetCheckResult:
    """No item of the dev split occurs in the train split, exactly or nearly."""
    return _leakage(split)


def test_does_not_leak(split: a.InstructionDataset) -> dg.AssetCheckResult:
    """No item of the test split occurs in train or dev, exactly or nearly."""
    return _leakage(split)


def base_is_a_base(report: a.GuardReport) -> dg.AssetCheckResult:
    """The guard found no contamination and every sentinel behaved as declared."""
    return dg.AssetCheckResult(
        passed=report.passed,
        description="\n".join(report.problems)
        or f"{len(report.checks)} checks passed; "
        + (f"{len(report.sentinels)} sentinels as declared" if report.sentinels else "no sentinels were declared"),
    )


def plan_is_sane(plan: a.TrainingPlan) -> dg.AssetCheckResult:
    """The plan has no blocking finding: coverage, headroom, power, lengths."""
    return _findings(plan.blocking, plan.findings)


def training_is_healthy(report: a.TrainingReport) -> dg.AssetCheckResult:
    """The diagnosis found the training healthy."""
    return _findings(tuple(f for f in report.findings if f.severity == "blocking"), report.findings)


def generations_comparable(sft: a.Generations, base_generations: a.Generations) -> dg.AssetCheckResult:
    """Base and fine-tuned answers differ in the adapter and in nothing else."""
    base = base_generations.conditions
    differing = [n for n in sorted(base.keys() | sft.conditions.keys()) if base.get(n) != sft.conditions.get(n)]
    return dg.AssetCheckResult(
        passed=not differing,
        description=f"differing: {', '.join(differing)}"
        if differing
        else "same items, prompt, decoding, engine, precision",
    )


def gate(report: a.GateReport) -> dg.AssetCheckResult:
    """The adapter is better than its base, by the declared rules."""
    against = [f"{r.criterion}: {r.detail}" for r in report.reasons if r.outcome in ("fail", "refused")]
    return dg.AssetCheckResult(
        passed=report.verdict == "pass",
        description="\n".join([f"verdict: {report.verdict}", *against]),
        metadata={"p": report.p, "lift": report.overall.lift},
    )


def exports_are_the_adapter(report: a.ExportReport) -> dg.AssetCheckResult:
    """Every declared export answers as the gated adapter does, within its margin."""
    return dg.AssetCheckResult(
        passed=not report.refused,
        description="\n".join(f"{r.kind}: {r.verdict}: {r.detail} → {r.remedy}" for r in report.refused)
        or f"{len(report.results)} accepted",
    )


def capabilities(report: a.CapabilityReport) -> dg.AssetCheckResult:
    """Nothing that the specification lets block a release was forgotten."""
    from sft_pipeline.report.capabilities.text import headline

    return dg.AssetCheckResult(passed=not report.problems, description="\n".join([headline(report), *report.problems]))


def _threshold(data: a.InstructionDataset, name: str) -> dg.AssetCheckResult:
    found = next((t for t in data.thresholds if t.name == name), None)
    if found is None:
        return dg.AssetCheckResult(
            passed=True, check_name=name, description="not applicable: not declared, or nothing to judge"
        )
    return dg.AssetCheckResult(
        passed=found.passed,
        check_name=name,
        description=f"{found.value:.4g}, must be {found.direction} {found.limit:g}",
        metadata={"value": found.value, "limit": found.limit},
    )


def _leakage(data: a.InstructionDataset) -> dg.AssetCheckResult:
    if data.proof is None:
        return dg.AssetCheckResult(passed=False, description="the split carries no leakage proof")
    proof = data.proof
    if not proof.test_rows:
        return dg.AssetCheckResult(
            passed=True, description=f"not applicable: {proof.against}, and there are no such rows"
        )
    return dg.AssetCheckResult(
        passed=proof.clean,
        description=f"{proof.against}: {proof.exact} exact, {proof.near} near, {proof.groups} shared groups, "
        f"{proof.contained_over_limit} over the containment limit",
        metadata=metadata.leakage(proof),
    )


def _findings(blocking: tuple[a.Finding, ...], every: tuple[a.Finding, ...]) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=not blocking,
        description="\n".join(f"{f.evidence} → {f.remedy}" for f in blocking) or "no blocking finding",
        metadata={"findings": metadata.findings(every)},
    )
