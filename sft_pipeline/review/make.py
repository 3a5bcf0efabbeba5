"""Writes a request: the key, and a page per rater that does not hold it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sft_pipeline.artifacts import ReviewKey
from sft_pipeline.errors import DataError
from sft_pipeline.evaluation.inputs.outputs import read_item_rows
from sft_pipeline.evaluation.inputs.reading import read_logs
from sft_pipeline.evaluation.scoring.score import score_items
from sft_pipeline.experiment import Evaluation, Review
from sft_pipeline.provenance import files
from sft_pipeline.report.review import html
from sft_pipeline.review.draw import draw, shown

PAGES, RETURNED = "pages", "returned"


def make(rows: Sequence[Mapping[str, Any]], review: Review, experiment: str, out: Path) -> ReviewKey:
    """Draw pairs and write `key.json` and `pages/RATER.html` to `out`.

    Raises:
        DataError: there is nothing to compare (draw.py).
    """
    key = draw(rows, review, experiment)
    texts = {rater: texts_of(key, rater) for rater in key.tasks}
    key = key.model_copy(update={"pages": {rater: html.texts_hash(key.guide, page) for rater, page in texts.items()}})
    (out / PAGES).mkdir()
    for rater, page in texts.items():
        (out / PAGES / f"{rater}.html").write_text(html.page(key, rater, page), "utf-8")
    files.write(out / "key.json", key.model_dump_json(indent=1) + "\n")
    return key


def texts_of(key: ReviewKey, rater: str) -> list[html.Shown]:
    """What a rater's page shows, in its order."""
    return [
        html.Shown(task.task, key.items[task.item].instruction, *shown(task, key.items[task.item]))
        for task in key.tasks[rater]
    ]


def rows_of_files(
    base: Path, sft: Path, items: Path | None, evaluation: Evaluation, root: Path
) -> list[dict[str, Any]]:
    """Pairs of two files of outputs; a pair is judged where both files say success, or by the scorer of its type.

    Raises:
        DataError: a file cannot be used, the files hold other ids, or an output is missing.
    """
    sides = [{o.id: o for o in given.log.outputs} for given in read_logs((base, sft))]
    known = read_item_rows(items) if items else {}
    ids = {base: set(sides[0]), sft: set(sides[1])} | ({items: set(known)} if items else {})
    for path, found in ids.items():
        if lacking := sorted(set.union(*ids.values()) - found):
            raise DataError(
                f"{path}: {len(lacking)} ids are missing, such as {lacking[0]}; all files must hold the same items"
            )
    rows = []
    for id, answer in sides[0].items():
        other = sides[1][id]
        facts = {**other.item, **answer.item, **known.get(id, {})}
        if answer.output is None or other.output is None:
            path = base if answer.output is None else sft
            raise DataError(f"{path}, item {id}, field output: is missing, so there is nothing to read")
        rows.append(
            {
                "id": id,
                "type": facts.get("type", "all"),
                "instruction": facts.get("instruction", ""),
                "response": facts.get("response", ""),
                "reference": facts.get("reference"),
                "group": facts.get("group"),
                "base_output": answer.output,
                "sft_output": other.output,
                "base_success": answer.success,
                "sft_success": other.success,
                "judged": answer.judged and other.judged,
            }
        )
    return scored(rows, evaluation, root)


def scored(rows: Sequence[dict[str, Any]], evaluation: Evaluation, root: Path) -> list[dict[str, Any]]:
    """`rows` with the judgement of their scorers where they have none. Judges are not asked: that is what people are for."""
    open_ = [row for row in rows if not row.get("judged")]
    if not open_ or not evaluation.scorers:
        return list(rows)
    found = [
        {j.id: j for j in score_items(open_, {row["id"]: row[side] for row in open_}, evaluation, root)}
        for side in ("base_output", "sft_output")
    ]
    return [
        row
        if row.get("judged")
        else row
        | {
            "base_success": found[0][row["id"]].success,
            "sft_success": found[1][row["id"]].success,
            "verifier": found[0][row["id"]].verifier,
        }
        for row in rows
    ]
