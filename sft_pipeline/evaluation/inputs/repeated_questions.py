"""Items that ask one question are one observation, and no more than that however often it is asked.

Twelve questions of which each stands under twenty-five ids are twelve observations. Items that declare no group and ask the
same as another one form a cluster (evaluation/statistics/clusters.py).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sft_pipeline.artifacts import Reason
from sft_pipeline.evaluation.inputs.outputs import Output
from sft_pipeline.provenance.hashing import canonical_json


def question(outputs: Sequence[Output], item: Mapping[str, str]) -> str:
    """All that was asked, as far as it is told; empty where neither an instruction nor a prompt is.

    Besides these it is everything else that may belong to the question, of the file of items and, where they say the same,
    of the models' rows: "Answer the question." must not make one question of all items whose questions stand elsewhere. For
    the same reason it is the expected answer, since one question has one.

    Args:
        outputs: the models' rows of one item.
        item: what the file of items says of it.
    """
    told = (item, *(o.item for o in outputs))
    said = {
        *(("instruction", i.get("instruction", "").strip()) for i in told),
        *(("prompt", o.prompt.strip('" ')) for o in outputs if o.prompt),
    }
    said = sorted(pair for pair in said if pair[1])
    expected = sorted({i[field] for i in told for field in ("response", "reference") if i.get(field)})
    alike = set.intersection(*(set(o.asked.items()) for o in outputs))
    return canonical_json([said, expected, item.get("asked", ""), sorted(alike)]) if said else ""


def clusters_of(questions: Mapping[str, str], groups: Mapping[str, str | None]) -> dict[str, str | None]:
    """Cluster by id: the declared group, or one for all items without a group that ask the same question.

    Args:
        questions: what each item asks; empty where it is not known.
        groups: its declared group.
    """
    loose = [id for id, group in groups.items() if group is None and questions[id].strip()]
    counts = Counter(questions[id] for id in loose)
    first: dict[str, str] = {}
    for id in sorted(loose):
        first.setdefault(questions[id], id)
    same = {id: f"same question as {first[questions[id]]}" for id in loose if counts[questions[id]] > 1}
    return {id: same.get(id, group) for id, group in groups.items()}


def with_clusters_of_questions(
    rows: Sequence[Mapping[str, Any]], questions: Mapping[str, str]
) -> tuple[list[dict[str, Any]], list[Reason]]:
    """The rows with their cluster as `group`, and what a reader must know of it: nothing where no question stands twice."""
    clusters = clusters_of(questions, {row["id"]: row["group"] for row in rows})
    asked = [questions[row["id"]] for row in rows if clusters[row["id"]] != row["group"]]
    rows = [{**row, "group": clusters[row["id"]]} for row in rows]
    if not asked:
        return rows, []
    detail = (
        f"{len(asked)} items without a group ask {len(set(asked))} different questions: those that ask the same one are one "
        "cluster, for the same question asked again is no new observation. Where they do ask something else, say so in "
        "their instruction (or prompt), or give them a group each"
    )
    return rows, [Reason(criterion="repeated questions", outcome="info", detail=detail)]
