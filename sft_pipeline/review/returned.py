"""What raters returned, checked against the key: each file is used, or rejected with its reason."""

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from sft_pipeline.artifacts import Choice, Frozen, ReviewKey, Success
from sft_pipeline.errors import DataError
from sft_pipeline.provenance.hashing import hash_bytes

SETTLED = "settled.jsonl"
"""Beside the returned files: labels of the answers on which raters disagreed, as of `evaluation.human_labels`."""

DATABASE = "answers.sqlite"
"""Beside them: what `sft-pipeline review serve` stored."""

LARGEST = 32 << 20
"""Bytes of a returned file: more than 5,000 pairs with notes of 2,000 characters, the most that a page takes."""


class TaskAnswer(Frozen):
    """What a rater said of a pair, as far as it is filled in."""

    first: Success | None = None
    second: Success | None = None
    better: Choice | None = None
    note: Annotated[str, Field(max_length=4000)] = ""
    ms: Annotated[int, Field(ge=0)] | None = None

    @property
    def finished(self) -> bool:
        """Whether all three questions are answered."""
        return None not in (self.first, self.second, self.better)


class Returned(Frozen):
    """A rater's answers by task; `page` is the hash that the page computed of its texts."""

    request: str
    rater: str
    page: str
    session: str
    saved: str
    answers: dict[str, TaskAnswer]
    source: str = ""


class _File(Frozen):
    review: dict[str, Any]
    check: str


def read_key(path: Path) -> ReviewKey:
    """The key of a review.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return ReviewKey.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise DataError(
            f"{path}: is no key of a review, which `sft-pipeline review make` writes: {_short(error)}"
        ) from None


def check_of(review: Mapping[str, Any]) -> str:
    """The hash that a page writes beside its answers, of their JSON as JavaScript spells it."""
    return hash_bytes(json.dumps(review, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass"))


def served(key: ReviewKey, path: Path) -> dict[str, Returned]:
    """Answers of each rater that a server stored; none where there is no database.

    Raises:
        DataError: the database cannot be read.
    """
    if not path.is_file():
        return {}
    found: dict[str, Returned] = {}
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=30)) as database:
            for rater, page in key.pages.items():
                rows = database.execute(
                    "SELECT task, answer, at FROM answers WHERE (request, rater) = (?, ?)", (key.request, rater)
                ).fetchall()
                if rows:
                    answers = {task: TaskAnswer.model_validate_json(answer) for task, answer, _ in rows}
                    saved = max(at for *_, at in rows)
                    given = {"request": key.request, "rater": rater, "page": page, "session": "server", "saved": saved}
                    found[rater] = fits(key, Returned(**given, answers=answers, source=f"{path.name} ({rater})"))
    except (sqlite3.Error, ValidationError) as error:
        raise DataError(f"{path}: cannot be read: {_short(error)}") from None
    return found


def read_returned(key: ReviewKey, folder: Path) -> tuple[dict[str, Returned], dict[str, str]]:
    """The answers of each rater, and the files that are not used with the reason.

    Of several files of one browser the latest counts. Two browsers that filled in one page contradict each other, and
    neither counts: nobody but whoever asked can know which one is the rater's.

    Args:
        key: the request that was made.
        folder: with the files, and what a server stored; other files than JSON are ignored.
    """
    found = {rater: [r] for rater, r in served(key, folder / DATABASE).items()}
    rejected: dict[str, str] = {}
    contents: dict[str, str] = {}
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        try:
            data = _bytes(path)
            if (same := contents.setdefault(hash_bytes(data), path.name)) != path.name:
                raise DataError(f"is a copy of {same}")
            returned = _checked(key, data).model_copy(update={"source": path.name})
            found.setdefault(returned.rater, []).append(returned)
        except DataError as error:
            rejected[path.name] = str(error)
    used = {}
    for rater, several in sorted(found.items()):
        latest = max(several, key=lambda r: (r.saved, len(r.answers)))
        for other in several:
            if other is latest:
                continue
            if other.session == latest.session:
                rejected[other.source] = f"an earlier state of {latest.source}"
            else:
                names = " and ".join(sorted(r.source for r in several))
                rejected |= {
                    r.source: f"the page of {rater} was filled in in two browsers ({names}); keep the file that counts"
                    for r in several
                }
        if latest.source not in rejected:
            used[rater] = latest
    return used, rejected


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > LARGEST:
            raise DataError(f"is larger than {LARGEST:,} bytes, which no returned file is")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}") from None


def _checked(key: ReviewKey, data: bytes) -> Returned:
    try:
        file = _File.model_validate(json.loads(data.decode("utf-8-sig")))
        returned = Returned.model_validate(file.review)
    except (ValueError, RecursionError) as error:
        raise DataError(f"is no file that a review page saved, or only a part of one: {_short(error)}") from None
    if returned.request != key.request:
        raise DataError(f"answers another review ({returned.request:.40}; this one is {key.request})")
    if check_of(file.review) != file.check:
        raise DataError(
            "was changed after the page had saved it: its check does not fit; ask the rater for the file itself"
        )
    return fits(key, returned)


def fits(key: ReviewKey, returned: Returned) -> Returned:
    """`returned`, whose page and tasks must be those of the key.

    Raises:
        DataError: says what is not.
    """
    if returned.rater not in key.tasks:
        raise DataError(f"is of {returned.rater:.40}, who was not asked; raters are {', '.join(key.tasks)}")
    if returned.page != key.pages[returned.rater]:
        raise DataError("comes from a page whose texts were edited: give the rater the original page again")
    if unknown := sorted(returned.answers.keys() - {task.task for task in key.tasks[returned.rater]}):
        raise DataError(f"answers {len(unknown)} tasks that the page has not, such as {unknown[0]:.40}")
    return returned


def _short(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"[:300]
    return str(error)[:300]
