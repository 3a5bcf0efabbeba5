"""Acceptance by the critics whose verdicts the rows carry; rows and critics without a verdict are not judged."""

import json
from typing import Literal

from sft_pipeline.dataset.filters.base import Hit, Judge, Row
from sft_pipeline.errors import DataError


def critics(accept: Literal["accepted", "confident"]) -> Judge:
    """A filter that drops rows that a critic rejects, or (confident) does not accept with confidence.

    Raises:
        DataError: while judging, where a verdict lacks `is_good`, or `confident` where that decides.
    """

    def judge(row: Row) -> Hit | None:
        if not row["critics"]:
            return None
        for critic, verdict in json.loads(row["critics"]).items():
            if not _flag(verdict, "is_good", critic, row):
                reason = f"the {critic} critic rejects it"
            elif accept == "confident" and not _flag(verdict, "confident", critic, row):
                reason = f"the {critic} critic accepts it without confidence"
            else:
                continue
            label, margin = verdict.get("predicted_label"), verdict.get("margin")
            judged = row["instruction"] if critic == "instruction" else f"{row['instruction']}\n{row['response']}"
            return Hit(f"{reason} (label {label}, margin {margin})", judged)
        return None

    return lambda rows: [judge(row) for row in rows]


def _flag(verdict: object, name: str, critic: str, row: Row) -> bool:
    value = verdict.get(name) if isinstance(verdict, dict) else None
    if not isinstance(value, bool):
        raise DataError(
            f"{row['source_file']}, row {row['source_row']}: the verdict of the {critic} critic has {name} = {value!r} "
            "where true or false is needed; correct it, or set data.quality.critics to ignored."
        )
    return value
