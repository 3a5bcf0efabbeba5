"""Would the result stand if what could not be judged had been judged otherwise?

Pairs without a judgement are left out of the statistics. That is harmless only where they are like the rest, which nobody
knows; so the report shows the result under every treatment that changes it, up to the two that are as bad and as good for
the fine-tuned model as can be.
"""

from collections.abc import Sequence

from sft_pipeline.artifacts import GroupResult, Sensitivity
from sft_pipeline.evaluation.statistics.paired import deciding_p, from_counts, paired
from sft_pipeline.experiment import Gate


def sensitivity(
    base: Sequence[bool | None], sft: Sequence[bool | None], gate: Gate, ties: Sequence[bool] = ()
) -> tuple[Sensitivity, ...]:
    """The overall result under each treatment of missing judgements and of ties.

    Args:
        base: success of the base by item, None where it could not be judged.
        sft: the same of the fine-tuned model, in the same order.
        gate: names the deciding test.
        ties: which items a judge called a tie, in the same order; both models then count as failing. Empty for none.

    Returns:
        First the result with missing pairs left out, which is the one that the gate uses. Empty where nothing is missing
        and nothing is a tie.
    """
    judged = [(b, s) for b, s in zip(base, sft, strict=True) if b is not None and s is not None]
    tied = sum(ties)
    if len(judged) == len(base) and not tied:
        return ()
    left_out = paired("missing pairs left out", *_columns(judged))
    found = [("left_out", left_out)]
    if len(judged) < len(base):
        for treatment, name, for_base, for_sft in (
            ("failures", "missing answers as failures", False, False),
            ("successes", "missing answers as successes", True, True),
            ("worst", "missing answers as bad for the fine-tuned model as can be", True, False),
            ("best", "missing answers as good for the fine-tuned model as can be", False, True),
        ):
            columns = [for_base if b is None else b for b in base], [for_sft if s is None else s for s in sft]
            found.append((treatment, paired(name, *columns)))
    if tied:
        half = tied // 2
        both, lost, won = left_out.base_successes - left_out.lost, left_out.lost + half, left_out.won + half
        name = "ties as half won, half lost"
        found.append(("ties_halved", from_counts(name, both, lost, won, left_out.n - both - lost - won)))
    return tuple(_row(treatment, result, gate) for treatment, result in found)


def _columns(pairs: Sequence[tuple[bool, bool]]) -> tuple[list[bool], list[bool]]:
    return [base for base, _ in pairs], [sft for _, sft in pairs]


def _row(treatment: str, result: GroupResult, gate: Gate) -> Sensitivity:
    return Sensitivity(
        treatment=treatment,
        name=result.name,
        n=result.n,
        base_successes=result.base_successes,
        sft_successes=result.sft_successes,
        lift=result.lift,
        lift_interval=result.lift_interval,
        p=deciding_p(result, gate.test),
    )
