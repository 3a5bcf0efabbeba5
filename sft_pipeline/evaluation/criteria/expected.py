"""Do the judgements that came with the answers contradict the expected answers?"""

from collections.abc import Sequence

from sft_pipeline.artifacts import GroupResult, Reason
from sft_pipeline.evaluation.pair import Pair


def expected(pairs: Sequence[Pair], overall: GroupResult, trusted: bool) -> list[Reason]:
    """Won pairs whose judgement was brought and whose winning answer lacks the short expected one.

    Refused where they are most of the wins: either the judgements or the expected answers are wrong. Human labels that
    agree (`trusted`) show that it is the latter.
    """
    brought = [p for p in pairs if p.won and p.verified is None and p.sft_has_answer is not None]
    lacking = sum(p.sft_has_answer is False for p in brought)
    if not lacking:
        return []
    contradicts = overall.lift > 0 and 2 * lacking > overall.won and not trusted
    return [
        Reason(
            criterion="judgements and expected answers",
            outcome="refused" if contradicts else "info",
            detail=f"in {lacking} of {overall.won} won pairs the fine-tuned model's answer was judged a success and does not "
            "contain the expected answer"
            + (
                ": the judgements contradict the expected answers. Correct one of them, or have a sample labelled"
                if contradicts
                else ""
            ),
        )
    ]
