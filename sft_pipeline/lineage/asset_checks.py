"""Blocking checks: where a mistake would cost GPU time or trust, the run stops here.

A check looks at what was stored, not at what the step believed.
"""

import warnings

import dagster as dg

from sft_pipeline import artifacts as a
from sft_pipeline.lineage import metadata

# Partitioned checks are a preview in this Dagster version, which is pinned; without them a check of one experiment
# would stand for all of them.
warnings.filterwarnings("ignore", category=dg.PreviewWarning, message=".*partitions_def.*AssetCheckSpec.*")


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
    """All checks, each belonging to its experiment's partition."""
    blocking = {"blocking": True, "partitions_def": partitions}

    @dg.asset_check(asset="raw_dataset", **blocking)
    def unreadable_share(raw_dataset: a.InstructionDataset) -> dg.AssetCheckResult:
        """No more rows of the source than declared could not be read."""
        return _threshold(raw_dataset, "unreadable_share")

    @dg.multi_asset_check(
        name="quality_thresholds",
        specs=[
            dg.AssetCheckSpec(name, asset="clean_dataset", description=text, **blocking)
            for name, text in QUALITY.items()
        ],
    )
    def quality_thresholds(clean_dataset: a.InstructionDataset):
        for name in QUALITY:
            yield _threshold(clean_dataset, name)

    @dg.asset_check(asset="dev_split", **blocking)
    def dev_does_not_leak(dev_split: a.InstructionDataset) -> dg.AssetCheckResult:
        """No item of the dev split occurs in the train split, exactly or nearly."""
        return _leakage(dev_split)

    @dg.asset_check(asset="test_split", **blocking)
    def test_does_not_leak(test_split: a.InstructionDataset) -> dg.AssetCheckResult:
        """No item of the test split occurs in train or dev, exactly or nearly."""
        return _leakage(test_split)

    @dg.asset_check(asset="base_model_guard", **blocking)
    def base_is_a_base(base_model_guard: a.GuardReport) -> dg.AssetCheckResult:
        """The guard found no contamination and every sentinel behaved as declared."""
        return dg.AssetCheckResult(
            passed=base_model_guard.passed,
            description="\n".join(base_model_guard.problems) or "all checks and sentinels as declared",
        )

    @dg.asset_check(asset="training_plan", **blocking)
    def plan_is_sane(training_plan: a.TrainingPlan) -> dg.AssetCheckResult:
        """The plan has no blocking finding: coverage, headroom, power, lengths."""
        return _findings(training_plan.blocking, training_plan.findings)

    @dg.asset_check(asset="training_report", **blocking)
    def training_is_healthy(training_report: a.TrainingReport) -> dg.AssetCheckResult:
        """The diagnosis found the training healthy."""
        blocking_findings = tuple(f for f in training_report.findings if f.severity == "blocking")
        return _findings(blocking_findings, training_report.findings)

    @dg.asset_check(
        asset="sft_generations", additional_ins={"base_generations": dg.AssetIn("base_generations")}, **blocking
    )
    def generations_comparable(sft_generations: a.Generations, base_generations: a.Generations) -> dg.AssetCheckResult:
        """Base and fine-tuned answers differ in the adapter and in nothing else."""
        differing = [
            name
            for name in sorted(base_generations.conditions.keys() | sft_generations.conditions.keys())
            if base_generations.conditions.get(name) != sft_generations.conditions.get(name)
        ]
        return dg.AssetCheckResult(
            passed=not differing,
            description=f"differing: {', '.join(differing)}"
            if differing
            else "same items, prompt, decoding, engine, precision",
        )

    @dg.asset_check(asset="gate_report", **blocking)
    def gate(gate_report: a.GateReport) -> dg.AssetCheckResult:
        """The adapter is better than its base, by the declared rules."""
        against = [f"{r.criterion}: {r.detail}" for r in gate_report.reasons if r.outcome in ("fail", "refused")]
        return dg.AssetCheckResult(
            passed=gate_report.verdict == "pass",
            description="\n".join([f"verdict: {gate_report.verdict}", *against]),
            metadata={"p": gate_report.p, "lift": gate_report.overall.lift},
        )

    return [
        unreadable_share,
        quality_thresholds,
        dev_does_not_leak,
        test_does_not_leak,
        base_is_a_base,
        plan_is_sane,
        training_is_healthy,
        generations_comparable,
        gate,
    ]


def _threshold(data: a.InstructionDataset, name: str) -> dg.AssetCheckResult:
    found = next((t for t in data.thresholds if t.name == name), None)
    if found is None:
        return dg.AssetCheckResult(passed=True, check_name=name, description="not declared, or nothing to judge")
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
