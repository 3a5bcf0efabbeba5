"""The review over artifacts: what is asked about stored answers, and what came back."""

import shutil
from pathlib import Path
from typing import Any

from sft_pipeline.artifacts import Generations, HumanReview, InstructionDataset, ReviewKey, ReviewRequest
from sft_pipeline.dataset.table import read_table
from sft_pipeline.experiment import Experiment, Review
from sft_pipeline.provenance.hashing import hash_file
from sft_pipeline.review.draw import secret_of
from sft_pipeline.review.make import make, scored
from sft_pipeline.review.results import read
from sft_pipeline.review.returned import DATABASE, SETTLED, read_key
from sft_pipeline.specification import expand_path

NONE = "none.txt"
"""What stands in the place of a review that the specification does not declare."""

WHY = "The specification declares no review (evaluation.review).\n"


def request(
    test: InstructionDataset,
    base: Generations,
    sft: Generations,
    experiment: Experiment,
    name: str,
    root: Path,
    out: Path,
    before: ReviewRequest | None,
) -> ReviewRequest:
    """Draw pairs of the stored answers and write key and pages; nothing where no review is declared.

    The request of before stands while answers and settings are the same, whatever the scorers say by now: they decide
    which pairs are drawn more often, and other pages would orphan the ratings of these.

    Raises:
        DataError: there is nothing to compare.
    """
    review = experiment.evaluation.review
    if review is None:
        (out / NONE).write_text(WHY, "utf-8")
        return ReviewRequest.finalize(out, declared=False)
    answers = [
        {r["id"]: r["output"] or "" for r in read_table(g.path(Generations.ROWS), ["id", "output"])}
        for g in (base, sft)
    ]
    rows = [
        row | {"base_output": answers[0][row["id"]], "sft_output": answers[1][row["id"]]}
        for row in read_table(test.path(InstructionDataset.ROWS))
        if all(row["id"] in side for side in answers)
    ]
    if before and before.declared and read_key(before.path(ReviewRequest.KEY)).secret == secret_of(rows, review):
        for file in before.files:
            (out / file).parent.mkdir(exist_ok=True)
            shutil.copyfile(before.path(file), out / file)
        key = read_key(out / ReviewRequest.KEY)
    else:
        key = make(scored(rows, experiment.evaluation, root), review, name, out)
    return ReviewRequest.finalize(out, **summary(key))


def summary(key: ReviewKey) -> dict[str, Any]:
    """The fields of a request."""
    return {
        "request": key.request,
        "items": sum(item.stratum != "catch" for item in key.items.values()),
        "tasks": {rater: len(page) for rater, page in key.tasks.items()},
        "population": key.population,
    }


def result(request: ReviewRequest, experiment: Experiment, root: Path, out: Path) -> HumanReview:
    """What raters returned for the request; empty where no review is declared."""
    review = experiment.evaluation.review
    if review is None:
        (out / NONE).write_text(WHY, "utf-8")
        return HumanReview.finalize(out)
    return read(read_key(request.path(ReviewRequest.KEY)), expand_path(review.returned, root), out)


def returned_files(review: Review, root: Path) -> dict[str, str]:
    """SHA-256 of what raters returned, by file name."""
    folder = expand_path(review.returned, root)
    names = [*(path.name for path in folder.glob("*.json")), SETTLED, DATABASE]
    return {name: hash_file(folder / name) for name in sorted(names) if (folder / name).is_file()}
