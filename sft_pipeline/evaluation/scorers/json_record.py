"""The answer is one JSON object, equal to the expected record."""

import json
from collections.abc import Mapping
from typing import Any

from sft_pipeline.evaluation.scorers.item import Item, Score
from sft_pipeline.evaluation.scorers.text import excerpt

OPTIONS: dict[str, str] = {}
REFERENCE = {
    "record": "The expected object.",
}
VERIFIER = True


def score(item: Item, output: str, options: Mapping[str, Any]) -> Score:
    """Parse the whole output strictly (no text around it, no key twice, no NaN) and compare it with the record.

    Raises:
        DataError: reference["record"] is no object.
    """
    record = item.reference.get("record")
    if not isinstance(record, dict):
        raise item.wrong("reference.record", "must be a JSON object")
    try:
        given = parse(output)
    except ValueError as error:
        return Score(False, excerpt(str(error), 120), readable=False)
    if not isinstance(given, dict):
        return Score(False, f"JSON, but a {type(given).__name__} instead of an object")
    if missing := sorted(record.keys() - given.keys()):
        return Score(False, f"missing keys: {excerpt(', '.join(missing))}")
    if extra := sorted(given.keys() - record.keys()):
        return Score(False, f"unexpected keys: {excerpt(', '.join(extra))}")
    wrong = sorted(key for key in record if not _equal(given[key], record[key]))
    return Score(not wrong, f"wrong values: {excerpt(', '.join(wrong))}" if wrong else "")


def parse(output: str) -> Any:
    """The JSON value that the whole of `output` is.

    Raises:
        ValueError: it is none; the message says why.
    """
    try:
        return json.loads(output, object_pairs_hook=_unique, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("JSON nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a duplicate key in one object")
    return dict(pairs)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _equal(a: Any, b: Any) -> bool:
    # In Python True == 1; in JSON they are different values.
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_equal(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_equal, a, b))
    return a == b
