"""Which pairs people see, in which order and on which side: drawn by seed, and written into a key that stays here.

Everything is derived from a secret, the hash of all answers with their models, which no page gives away.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from sft_pipeline.artifacts import ReviewItem, ReviewKey, ReviewTask
from sft_pipeline.errors import DataError
from sft_pipeline.experiment import Review
from sft_pipeline.provenance.hashing import hash_value

OVERSAMPLED = ("won", "lost", "unclear")
STRATA = (*OVERSAMPLED, "same")
IDENTICAL = "identical"


def answers_hash(rows: Sequence[Mapping[str, Any]]) -> str:
    """Hash of both models' answers to all items, whatever the order of the rows."""
    return hash_value(sorted([row["id"], row["base_output"], row["sft_output"]] for row in rows))


def secret_of(rows: Sequence[Mapping[str, Any]], review: Review) -> str:
    """What every draw is derived from: the answers, with whose they are, and the settings."""
    return hash_value([answers_hash(rows), review.model_dump(mode="json", exclude={"returned"})])


def stratum(row: Mapping[str, Any]) -> str:
    """The stratum of a pair: won, lost, same, unclear where no scorer can be believed, identical for one text twice."""
    base, sft = row.get("base_success"), row.get("sft_success")
    if row["base_output"] == row["sft_output"]:
        return IDENTICAL
    if base is None or sft is None or row.get("verifier") is False:
        return "unclear"
    return "same" if base == sft else "won" if sft else "lost"


def allocate(sizes: Mapping[str, int], n: int, oversample: float) -> dict[str, int]:
    """How many pairs of each stratum are drawn: in proportion to its size, times `oversample` for those of interest.

    Two of each at least, where there are as many: the spread within a stratum is unknown from one.
    """
    n = min(n, sum(sizes.values()))
    drawn = {name: min(2, size) for name, size in sizes.items()}
    weight = {name: size * (oversample if name in OVERSAMPLED else 1.0) for name, size in sizes.items()}
    while sum(drawn.values()) > n:
        drawn[max(drawn, key=lambda name: (drawn[name], name == "same"))] -= 1
    while sum(drawn.values()) < n:
        open_ = [name for name in sizes if drawn[name] < sizes[name]]
        drawn[max(open_, key=lambda name: weight[name] / (drawn[name] + 1))] += 1  # the method of D'Hondt
    return drawn


def draw(rows: Sequence[Mapping[str, Any]], review: Review, experiment: str) -> ReviewKey:
    """The key of a review, without the pages' hashes.

    Args:
        rows: pairs as in a gate report's items.parquet: id, type, instruction, base_output, sft_output, and where known
            base_success, sft_success, verifier, and cluster or group.
        review: how many are drawn, and how.
        experiment: its name, for messages.

    Raises:
        DataError: there are fewer than two pairs of different texts.
    """
    rows = sorted(rows, key=lambda row: row["id"])
    secret = secret_of(rows, review)
    strata: dict[str, list[Mapping[str, Any]]] = {name: [] for name in (*STRATA, IDENTICAL)}
    for row in _one_of_each_cluster(rows, Random(f"{secret} clusters")):
        strata[stratum(row)].append(row)
    population = {name: len(found) for name, found in strata.items() if found}
    sizes = {name: len(strata[name]) for name in STRATA if strata[name]}
    if sum(sizes.values()) < 2:
        raise DataError(
            f"{experiment}: {sum(sizes.values())} pairs have different answers; people have nothing to compare"
        )
    repeats, catches = (round(review.items_per_rater * share) for share in (review.repeated, review.catch_trials))
    random = Random(f"{secret} draw")
    items: dict[str, ReviewItem] = {}
    for name, n in allocate(sizes, review.items_per_rater - repeats - catches, review.oversample).items():
        for row in random.sample(strata[name], n):
            items[row["id"]] = _item(row, name)
    drawn = list(items)
    others = [row for row in rows if row["id"] not in items and row["base_output"].strip()] or [
        row for row in rows if row["base_output"].strip() or row["sft_output"].strip()
    ]
    catch_rows = random.sample(others, min(catches, len(others)))
    items |= {f"{row['id']} (twice)": _item(row, "catch") for row in catch_rows}
    tasks = {
        rater: _tasks(
            drawn,
            [i for i in items if items[i].stratum == "catch"],
            items,
            min(repeats, len(drawn) // 2),
            f"{secret} {rater}",
        )
        for rater in (f"rater-{k}" for k in range(1, review.raters + 1))
    }
    plain = {
        "answers": answers_hash(rows),
        "guide": review.guide,
        "population": population,
        "items": {id: item.model_dump() for id, item in items.items()},
        "tasks": {rater: [task.model_dump() for task in page] for rater, page in tasks.items()},
    }
    return ReviewKey(request=hash_value(plain)[:16], experiment=experiment, secret=secret, pages={}, **plain)


def _one_of_each_cluster(rows: Sequence[Mapping[str, Any]], random: Random) -> list[Mapping[str, Any]]:
    """One pair of each cluster or group, in the order of the ids: people's choices are independent then."""
    kept: dict[Any, Mapping[str, Any]] = {}
    for number, row in enumerate(random.sample(rows, len(rows))):
        cluster = row.get("cluster") or row.get("group")
        kept.setdefault(number if cluster is None else cluster, row)
    return sorted(kept.values(), key=lambda row: row["id"])


def _item(row: Mapping[str, Any], stratum: str) -> ReviewItem:
    texts = {"base": row["base_output"], "sft": row["sft_output"]}
    return ReviewItem(id=row["id"], type=row["type"], instruction=row["instruction"], stratum=stratum, **texts)


def _tasks(
    drawn: Sequence[str], catches: Sequence[str], items: Mapping[str, ReviewItem], repeats: int, seed: str
) -> tuple[ReviewTask, ...]:
    """A rater's page: each item once, repeats in the second half of what the first half showed, catch trials anywhere.

    The base is first in half of the items, so that a preference for a side favours no model.
    """
    random = Random(seed)
    order = random.sample(drawn, len(drawn))
    sides = random.sample([k % 2 == 0 for k in range(len(order))], len(order))
    page: list[tuple[str, str, bool]] = [("item", *pair) for pair in zip(order, sides, strict=True)]
    half = len(page) // 2
    for _, item, base_first in random.sample(page[:half], min(repeats, half)):
        page.insert(random.randint(half, len(page)), ("repeat", item, not base_first))
    for item in catches:
        base_first = bool(items[item].base.strip()) and (random.random() < 0.5 or not items[item].sft.strip())
        page.insert(random.randint(0, len(page)), ("catch", item, base_first))
    names: Counter[str] = Counter()
    made = []
    for kind, item, base_first in page:
        names[item] += 1
        task = "t" + hash_value([seed, item, names[item]])[:12]
        made.append(ReviewTask(task=task, item=item, kind=kind, base_first=base_first))
    return tuple(made)


def shown(task: ReviewTask, item: ReviewItem) -> tuple[str, str]:
    """The first and the second answer of a task, as the page shows them."""
    if task.kind == "catch":
        text = item.base if task.base_first else item.sft
        return text, text
    return (item.base, item.sft) if task.base_first else (item.sft, item.base)
