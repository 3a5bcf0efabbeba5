"""The page that a rater fills in: everything in one file, no network, foreign text escaped, no word of whose answer it is."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sft_pipeline.artifacts import ReviewKey
from sft_pipeline.provenance.hashing import hash_bytes
from sft_pipeline.report import excerpt
from sft_pipeline.report.rendering import render

SEPARATOR = "\n\x1e\n"


class Shown(NamedTuple):
    """The texts of a task."""

    task: str
    instruction: str
    first: str
    second: str


def page(key: ReviewKey, rater: str, tasks: Sequence[Shown], saved: Mapping[str, Any] | None = None) -> str:
    """The page as HTML.

    Args:
        key: gives the request and the guide.
        rater: whose page it is.
        tasks: what it shows.
        saved: answers that a server holds, by task; None for a page that is sent as a file.
    """
    return render(
        "review.html.j2",
        {"shown": excerpt.shown},
        request=key.request,
        rater=rater,
        guide=key.guide,
        tasks=tasks,
        saved=saved,
    )


def texts_hash(guide: str, tasks: Sequence[Shown]) -> str:
    """The hash that an unchanged page computes of the texts that it shows (review.js)."""
    texts = [guide, *(text for task in tasks for text in task[1:])]
    signed = [excerpt.HIDDEN.sub(lambda found: excerpt.sign(found[0]), text) for text in texts]
    return hash_bytes(SEPARATOR.join(signed).encode())
