"""Answers of one model to the test split, each judged by the scorer of its type."""

import importlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from sft_pipeline.errors import DataError, SpecificationError
from sft_pipeline.evaluation.scorers import Item
from sft_pipeline.experiment import ScorerSpec


class Judged(NamedTuple):
    """The verdict on one answer."""

    id: str
    type: str
    success: bool
    reason: str


def scorer_for(type: str, scorers: Mapping[str, ScorerSpec]) -> ScorerSpec:
    """The scorer that the specification declares for a type of item.

    Raises:
        SpecificationError: the type has none and there is no `default`, or the scorer has no such option.
    """
    spec = scorers.get(type) or scorers.get("default")
    if spec is None:
        raise SpecificationError(
            f"evaluation.scorers: no scorer for items of type {type!r} and no `default`; "
            f"declared are {', '.join(sorted(scorers)) or 'none'}"
        )
    if unknown := sorted(spec.options.keys() - getattr(_scorer(spec.kind), "OPTIONS", set())):
        raise SpecificationError(
            f"evaluation.scorers.{type if type in scorers else 'default'}.options: the scorer {spec.kind} has no "
            f"option {', '.join(unknown)}"
        )
    return spec


def score_items(
    rows: Iterable[Mapping[str, Any]], outputs: Mapping[str, str], scorers: Mapping[str, ScorerSpec]
) -> list[Judged]:
    """Judge the answer to every row, joined by id.

    Args:
        rows: rows of an instruction dataset (dataset/table.py).
        outputs: answers by id of the row; answers to other items are ignored.
        scorers: scorer by type of item.

    Raises:
        SpecificationError: a type of item has no scorer.
        DataError: a row has no answer, its id stands twice, or its reference is not what the scorer needs.
    """
    items = [item(row) for row in rows]
    if twice := [id for id, count in Counter(i.id for i in items).items() if count > 1]:
        raise DataError(f"items {_some(twice)} stand more than once in the rows to be judged")
    if missing := [i.id for i in items if i.id not in outputs]:
        raise DataError(f"no answer to items {_some(missing)}; generate the answers anew")
    specs = {type: scorer_for(type, scorers) for type in {i.type for i in items}}
    judged = []
    for i in items:
        verdict = _scorer(specs[i.type].kind).score(i, outputs[i.id], specs[i.type].options)
        judged.append(Judged(i.id, i.type, verdict.success, verdict.reason))
    return judged


def item(row: Mapping[str, Any]) -> Item:
    """The item of a dataset row, with its reference read from JSON.

    Raises:
        DataError: the reference is no JSON object.
    """
    try:
        reference = json.loads(row["reference"]) if row.get("reference") else {}
    except ValueError:
        reference = None
    if not isinstance(reference, dict):
        raise DataError(f"item {row['id']}, field reference: not a JSON object: {row['reference']!r:.80}")
    return Item(row["id"], row["instruction"], row["response"], row["type"], reference)


def _scorer(kind: str):
    # The names are those of experiment.ScorerSpec.kind, so nothing from outside is imported.
    return importlib.import_module(f"sft_pipeline.evaluation.scorers.{kind}")


def _some(ids: list[str]) -> str:
    return ", ".join(sorted(ids)[:5]) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")
