"""What a reader of a harness's files hands over, and what the readers share."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

from sft_pipeline.errors import DataError
from sft_pipeline.evaluation.inputs.content import Content
from sft_pipeline.evaluation.inputs.outputs import Output
from sft_pipeline.provenance.hashing import hash_bytes


@dataclass(frozen=True)
class Log:
    """One model's answers as a harness logged them.

    Attributes:
        outputs: one for each item (and epoch).
        metrics: names of its scores, in the harness's order.
        notes: what a reader must know, such as what was left out.
        metric: the score that decides; None where the rows bring their own judgements, or none.
        less_is_better: scores of which the harness says so.
    """

    outputs: Sequence[Output]
    metrics: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    metric: str | None = None
    less_is_better: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Side:
    """Which of several models in one file is meant.

    Attributes:
        model: its name; None where nobody said it.
        place: of the model among those that are compared, from 0.
        shared: whether one file is given for several of them.
        others: names of the other models that are meant in this file.
    """

    model: str | None = None
    place: int = 0
    shared: bool = False
    others: tuple[str, ...] = ()

    def choose(self, path: Path, models: Sequence[str]) -> str:
        """The model among those of a file.

        Raises:
            DataError: it is not among them, or several are and none was named.
        """
        if self.model in models:
            return str(self.model)
        listed = ", ".join(map(repr, models[:8])) + (", …" if models[8:] else "")
        if self.model is not None:
            raise DataError(f"{path}: holds no answers of {self.model!r} (--models), but of {listed}")
        if len(models) == 1:
            return models[0]
        if self.shared and self.place < len(models) == 2:
            return models[self.place]
        raise DataError(
            f"{path}: holds the answers of {len(models)} models ({listed}); say which one is meant (--models)"
        )


@dataclass(frozen=True)
class Format:
    """A format of per-item results.

    Attributes:
        name: for --format.
        title: what it is, for messages and docs.
        files: patterns of its files in a folder of results; empty where it has none.
        recognises: whether a file is of it.
        read: the answers in the files of one run, most often one.
        several: whether a run may have more than one file.
        own_ids: whether a person gave the ids, so that they join files of different formats.
    """

    name: str
    title: str
    recognises: Callable[[Content], bool]
    read: Callable[[Sequence[Content], Side], Log]
    files: tuple[str, ...] = ()
    several: bool = False
    own_ids: bool = False


def by_task(found: Mapping[tuple[str, str], Output]) -> list[Output]:
    """The answers, given by task and id; of several tasks the id and the key name the task."""
    if len({task for task, _ in found}) < 2:
        return list(found.values())
    return [
        replace(o, id=f"{task}/{o.id}", key=None if o.key is None else f"{task} {o.key}")
        for (task, _), o in found.items()
    ]


def digest(value: Any) -> str:
    """A hash of a JSON value, which must be equal for both models."""
    return hash_bytes(json.dumps(value, sort_keys=True, default=str).encode("utf-8", "backslashreplace"))[:16]


def number(value: Any) -> float | None:
    """A score as a number; None where the item was not scored.

    Raises:
        ValueError: it is something else, such as a list.
    """
    if value is None:
        return None
    if isinstance(value, str):  # lm-eval writes NumPy's scalars as text
        value = {"true": 1.0, "false": 0.0}.get(value.casefold(), value)
    if isinstance(value, str | int | float):
        return found if isfinite(found := float(value)) else None
    raise ValueError(f"{value!r:.40} is no score")


def count(value: Any) -> int | None:
    """A number of tokens; None for what is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else None


def names(rows: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """The keys of all mappings, in the order in which they come first."""
    return tuple({name: None for row in rows for name in row})
