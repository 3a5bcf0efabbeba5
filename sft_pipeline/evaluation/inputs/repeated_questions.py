"""Items that ask one question are one observation, and no more than that however often it is asked.

Twelve questions of which each stands under twenty-five ids are twelve observations, also where the copies differ in numbering,
case, punctuation or look-alike letters, or are one template with other numbers. Items that declare no group and ask nearly
the same as another one form a cluster (evaluation/statistics/clusters.py).
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

from sft_pipeline.artifacts import Reason
from sft_pipeline.dataset.text import words
from sft_pipeline.evaluation.inputs.outputs import Output
from sft_pipeline.experiment import Duplicates

LONG = 20
"""Words from which a question has a text beside its numbers: shorter ones that differ in a number ask something else."""

ALIKE = Duplicates(ngram=2, threshold=0.5)
"""Near-duplicates among long questions with their numbers masked. GSM8K has 1 such pair in 600 questions; of 20 templates
with 50 variants each, with other names and numbers, it makes 22 clusters."""

FORMAT = 1 / 3
"""Where more than this share of the items would be one cluster, what they share is the format of the task."""

SEVERAL = 5
"""Questions from which it can be seen what is their template: the words that at least three in four of them have."""

COVERED = 0.5
"""Share of the steps from word to word that a question must have in common with its template."""

SAME_LENGTH = 0.1
"""Share of its words by which a question may be longer or shorter than its template: names differ by a word, but questions
that put few words in other orders, as BIG-Bench Hard's navigate does, differ by half."""

OWN = 6
"""Words that a copy may add, such as "Think step by step."; a longer addition is a question of its own behind an instruction."""

_HIDDEN = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
_LOOK_ALIKE = str.maketrans(
    "АВЕЅІЈКМНОРСТУХаеѕіјорсухΑΒΕΖΗΙΚΜΝΟΡΤΥΧαονι", "ABESIJKMHOPCTYXaesijopcyxABEZHIKMNOPTYXaovi"
)
_NUMBERING = re.compile(
    r"^\W*(?:[a-z]{1,12}\W{0,2})?\d+\W{0,2}[:.)\]\-–—]\s*|\s*[(\[#]\W*(?:[a-z]{1,12}\W{0,2})?\d+\W*$", re.IGNORECASE
)
_NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*")


class Question(NamedTuple):
    """What an item asks: its text, empty where unknown; what it expects; and what else may belong to the question."""

    text: str
    expected: str = ""
    besides: str = ""


def question(outputs: Sequence[Output], item: Mapping[str, str]) -> Question:
    """All that was asked, as far as it is known.

    Besides instruction and prompt it is everything else that may belong to the question, of the file of items and, where they
    say the same, of the models' rows: "Answer the question." must not make one question of all items whose questions stand
    elsewhere.

    Args:
        outputs: the models' rows of one item.
        item: what the file of items says of it.
    """
    known = (item, *(o.item for o in outputs))
    said = {i.get("instruction", "").strip() for i in known} | {o.prompt.strip('" ') for o in outputs if o.prompt}
    expected = sorted({i[field] for i in known for field in ("response", "reference") if i.get(field)})
    alike = set.intersection(*(set(o.asked.items()) for o in outputs))
    besides = [item.get("asked", ""), *(value for _, value in sorted(alike))]
    return Question("\n".join(sorted(filter(None, said))), "\n".join(expected), "\n".join(filter(None, besides)))


def clusters_of(questions: Mapping[str, Question], groups: Mapping[str, str | None]) -> dict[str, str | None]:
    """Cluster by id: the declared group, or one for all items without a group that ask nearly the same question.

    Args:
        questions: what each item asks.
        groups: its declared group.
    """
    from sft_pipeline.dataset.duplicates.union_find import Components

    loose = sorted(id for id, group in groups.items() if group is None and questions[id].text.strip())
    keys = [_key(questions[id]) for id in loose]
    long = [k for k, id in enumerate(loose) if len(_plain(questions[id]).split()) >= LONG]
    texts = [_NUMBER.sub("0", _plain(questions[loose[k]])) for k in long]
    united = Components(len(loose))
    for alike in _near(texts):
        if len(alike) > max(2, FORMAT * len(groups)):
            continue
        for members in _without_template(alike, texts, [questions[loose[k]].expected for k in long]):
            for k in members[1:]:
                united.unite(long[members[0]], long[k])
    first: dict[str, int] = {}
    for k, key in enumerate(keys):  # one wording is one question, however many items have it
        united.unite(first.setdefault(key, k), k)
    ends = [united.find(k) for k in range(len(loose))]
    counts = Counter(ends)
    same = {id: f"same question as {loose[end]}" for id, end in zip(loose, ends) if counts[end] > 1}
    return {id: same.get(id, group) for id, group in groups.items()}


def clusters_of_rows(rows: Sequence[Mapping[str, Any]]) -> dict[str, str | None]:
    """Cluster of each row of a split by id, as `clusters_of`; None stands alone."""
    questions = {row["id"]: Question(row["instruction"]) for row in rows}
    return clusters_of(questions, {row["id"]: row["group"] for row in rows})


def _near(texts: Sequence[str]) -> list[list[int]]:
    """Groups of texts that are near-duplicates."""
    from sft_pipeline.dataset.duplicates import components
    from sft_pipeline.dataset.duplicates.shingles import shingle_sets

    return components(shingle_sets(texts, ALIKE.ngram), [None] * len(texts), ALIKE).members() if texts else []


def _without_template(alike: Sequence[int], texts: Sequence[str], expected: Sequence[str]) -> list[list[int]]:
    """Which of several near-duplicates are one question, and not the same instruction before another one.

    They are where besides the numbers few words differ, or many of which no more than three stand together, as names in a
    template do. Without numbers, the expected answer must be the same one as well.
    """
    if len(alike) < SEVERAL:
        return [list(alike)]
    said = {k: texts[k].split() for k in alike}
    steps = {k: list(zip(said[k], said[k][1:])) for k in alike}
    shared = _shared(said), _shared(steps)
    found: dict[str, list[int]] = {}
    length = median(map(len, said.values()))
    for k in alike:
        own = [word not in shared[0] for word in said[k]]
        runs = any(map(all, zip(own, own[1:], own[2:], own[3:])))
        slots = not runs and abs(len(own) - length) <= SAME_LENGTH * length
        few = sum(own) <= min(OWN, 0.1 * len(own))
        if (few or slots) and sum(step in shared[1] for step in steps[k]) >= COVERED * len(steps[k]):
            found.setdefault("" if "0" in texts[k] or not expected[k] else expected[k], []).append(k)
    return list(found.values())


def _shared(parts: Mapping[int, Sequence[Any]]) -> set[Any]:
    """What at least three in four have."""
    return {
        part for part, n in Counter(p for own in parts.values() for p in set(own)).items() if n >= 0.75 * len(parts)
    }


def _plain(asked: Question) -> str:
    """The text and what belongs to it in compatibility form, without numbering, hidden and look-alike characters."""
    text = _HIDDEN.sub("", unicodedata.normalize("NFKC", asked.text))
    bare = _NUMBERING.sub("", text.translate(_LOOK_ALIKE) if _mostly_latin(text) else text)
    return f"{bare if len(bare.split()) >= 4 else text}\n{asked.besides}".casefold()


def _mostly_latin(text: str) -> bool:
    letters = [c for c in text if c.isalpha()]
    return 2 * sum(c.isascii() for c in letters) > len(letters)


def _key(asked: Question) -> str:
    """Equal for questions of one wording; their numbers count unless the expected answers are equal, too."""
    text = _plain(asked)
    found = words(text)
    plain = " ".join(found) if len(found) >= 6 else text.strip()
    if len(found) >= 8 and asked.expected:
        plain = _NUMBER.sub("0", plain)
    return f"{plain}\n{asked.expected}"


def with_clusters_of_questions(
    rows: Sequence[Mapping[str, Any]], questions: Mapping[str, Question]
) -> tuple[list[dict[str, Any]], list[Reason]]:
    """The rows with their cluster as `group`, and what a reader must know of it: nothing where no question stands twice."""
    from sft_pipeline.evaluation.gate.criteria.registry import precondition

    clusters = clusters_of(questions, {row["id"]: row["group"] for row in rows})
    own = [clusters[row["id"]] for row in rows if clusters[row["id"]] != row["group"]]
    grouped = [{**row, "group": clusters[row["id"]]} for row in rows]
    if not own:
        return grouped, []
    detail = (
        f"{len(own)} items without a group ask {len(set(own))} different questions, but for numbering, case, punctuation and "
        "the numbers of a template: those that ask the same one are one cluster, for the same question asked again is no new "
        "observation. Where they do ask something else, say so in their instruction (or prompt), or give them a group each"
    )
    return grouped, [precondition("repeated_questions", "info", detail)]
