"""The verdict comes from a file: judgements by people or by another tool."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from sft_pipeline.evaluation.inputs.human_labels import Label, read_labels
from sft_pipeline.evaluation.scorers.item import Item, Score

OPTIONS = {
    "file": "JSONL of id, output and success, relative to the project's root.",
}
REFERENCE: dict[str, str] = {}
VERIFIER = None  # whoever judged may have verified


def score(item: Item, output: str, options: Mapping[str, Any]) -> Score:
    """Look up the judgement of exactly this output in the file that the option `file` names.

    An output without a judgement, or with null, is not judged.

    Raises:
        DataError: the file cannot be read, or holds a row that is no judgement.
    """
    path = Path(options["file"])
    judgement = _read(path, path.stat().st_mtime_ns).get((item.id, output))
    if judgement is None:
        return Score(None, "no judgement of this output in the file")
    if judgement.success is None:
        return Score(None, judgement.reason or "judged as undecided in the file")
    return Score(judgement.success, "" if judgement.success else judgement.reason or "judged as a failure in the file")


@lru_cache(maxsize=8)
def _read(path: Path, modified: int) -> dict[tuple[str, str], Label]:
    return read_labels(path)
