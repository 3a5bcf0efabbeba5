"""Headroom: a base near the ceiling leaves nothing to measure."""

from sft_pipeline.artifacts import GroupResult, Reason
from sft_pipeline.evaluation.criteria.wording import percent
from sft_pipeline.experiment import Gate


def headroom(overall: GroupResult, gate: Gate) -> Reason:
    """Above the limit a lift is refused, for it proves nothing; its absence is a plain failure."""
    detail = (
        f"the base succeeds on {overall.base_successes} of {overall.n} items ({percent(overall.base_rate)}; limit "
        f"{percent(gate.max_base_success)})"
    )
    if overall.n == 0 or overall.base_rate <= gate.max_base_success:
        return Reason(criterion="headroom", outcome="pass", detail=detail)
    if overall.lift <= 0:
        detail += ", and the fine-tuned model does not do better"
        return Reason(criterion="headroom", outcome="fail", detail=detail)
    detail += ": there is too little room above it for a lift to mean anything. Use harder items."
    return Reason(criterion="headroom", outcome="refused", detail=detail)
