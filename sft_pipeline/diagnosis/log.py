"""The series in the log of any Hugging Face trainer, and where such a log is found."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from sft_pipeline.errors import DataError

Series = list[tuple[float, float]]
"""Values with their steps, in order."""

REWARD_KEYS = ("reward", "rewards/chosen", "kl", "objective/kl")
"""Keys of trainers that learn from rewards or preferences: their loss is no cross entropy."""

PAIR_KEY = "rewards/chosen"
"""Key of trainers that learn from pairs of answers: their loss begins at a level of its own and should fall."""

GAIN_KEYS = ("reward", "rewards/margins", "objective/scores")
"""Keys of what such trainers are to raise; the first one that the log has counts."""

RISING_SCORES = {"accuracy", "acc", "f1", "auc", "matthews", "mcc", "iou"}
"""Words in the keys of evaluations that measure labels as a whole, more being better."""

SCORES = RISING_SCORES | {"precision", "recall", "wer", "cer"}
"""Words in the keys of evaluations that measure labels or transcripts, where a loss of nearly 0 can be deserved."""

ABORTED_KEY = "aborted_by_watchdog"
"""Key of the log record that the watchdog adds to the log of a run that it stopped: the reason."""

ABORTED_KEYS = (ABORTED_KEY, "stopped_as_lost")
"""The same, with its key in older logs."""


@dataclass(frozen=True)
class Log:
    """The log of a run as series; a step that was logged twice (a resumed run) counts with its last value.

    Attributes:
        loss: training loss.
        dev: dev loss; the mean over them where there are several evaluation sets and no plain `eval_loss`.
        norm: gradient norm.
        rate: learning rate.
        accuracy: token accuracy in training.
        epoch: passes over the data.
        dev_sets: the dev losses of each evaluation set, where the dev loss is their mean.
        rewards: the log is one of reinforcement or preference learning.
        pairs: it is one of learning from pairs of answers.
        gain: what such a training is to raise: the reward, or the margin between the answers of a pair.
        scored: the evaluations measure labels or transcripts besides the loss.
        scores: such measures of which more is better.
        aborted: why the watchdog stopped the run, where it did.
    """

    loss: Series
    dev: Series
    norm: Series
    rate: Series
    accuracy: Series
    epoch: Series
    dev_sets: tuple[Series, ...] = ()
    rewards: bool = False
    pairs: bool = False
    gain: Series = field(default_factory=list)
    scored: bool = False
    scores: tuple[Series, ...] = ()
    aborted: str = ""

    @property
    def several_dev_sets(self) -> bool:
        """Whether the dev loss is the mean over several evaluation sets."""
        return len(self.dev_sets) > 1

    @property
    def finite(self) -> list[float]:
        """The finite training losses."""
        return [value for _, value in self.loss if math.isfinite(value)]

    @property
    def steps(self) -> list[float]:
        """The steps of the finite training losses."""
        return [step for step, value in self.loss if math.isfinite(value)]

    @property
    def start(self) -> float:
        """Level of the training loss at the start."""
        return first(self.finite)

    @property
    def end(self) -> float:
        """Level of the training loss at the end."""
        return last(self.finite)

    @property
    def scatter(self) -> float:
        """Noise of the training loss over its level."""
        level = median(self.finite) if self.finite else 0.0
        return noise(self.finite) / level if level else 0.0

    @property
    def finite_dev(self) -> Series:
        """The finite dev losses."""
        return [(step, value) for step, value in self.dev if math.isfinite(value)]


def noise(values: Sequence[float]) -> float:
    """Standard deviation of a value about its level, from the typical difference of neighbours; 0 for a single value."""
    steps = [abs(b - a) for a, b in pairwise(values)]
    return median(steps) / 0.6745 / math.sqrt(2) if steps else 0.0


def first(values: Sequence[float]) -> float:
    """Level at the start: median of the first twentieth of the values, ten at most."""
    return median(values[: min(10, math.ceil(len(values) / 20))])


def last(values: Sequence[float]) -> float:
    """Level at the end: median of the last tenth of the values."""
    return median(values[-math.ceil(len(values) / 10) :])


def read(log_history: Iterable[Mapping[str, Any]]) -> Log:
    """The series in a trainer's log history.

    Numbers may be texts. A row without a step, as some trainers write it, is given the number of training rows so far.

    Raises:
        DataError: a row is no object, a figure of it is no number, or a step, an epoch or a learning rate is not finite.
    """
    rows: list[tuple[float, Mapping[str, Any]]] = []
    counted = 0
    for number, row in enumerate(log_history, start=1):
        if not isinstance(row, Mapping):
            raise DataError(f"row {number} of the log history is {type(row).__name__}, not an object")
        counted += "loss" in row
        step = _number(row, "step", number)
        rows.append((counted if step is None else step, row))

    def series(key: str) -> Series:
        found: dict[float, float] = {}
        for number, (step, row) in enumerate(rows, start=1):
            value = _number(row, key, number)
            if value is not None:
                found[step] = value
        return sorted(found.items())

    def figures(key: str) -> Series:  # what others log as well may be a list or a text: that is no fault of the log
        found = {step: row[key] for step, row in rows if type(row.get(key)) in (int, float)}
        return sorted(found.items())

    dev = series("eval_loss")
    names = sorted({key for _, row in rows for key in row if key.startswith("eval_") and key.endswith("_loss")})
    sets = [series(name) for name in names if name != "eval_loss"] if not dev else []
    if sets:
        steps = sorted(set.intersection(*(set(dict(one)) for one in sets)))
        dev = [(step, sum(dict(one)[step] for one in sets) / len(sets)) for step in steps]
    return Log(
        loss=series("loss"),
        dev=dev,
        norm=series("grad_norm"),
        rate=series("learning_rate"),
        accuracy=series("mean_token_accuracy"),
        epoch=series("epoch"),
        dev_sets=tuple(sets),
        rewards=any(key in row for _, row in rows for key in REWARD_KEYS),
        pairs=any(PAIR_KEY in row for _, row in rows),
        gain=next(filter(None, map(figures, GAIN_KEYS)), []),
        scored=any(_measures(key, SCORES) for _, row in rows for key in row),
        scores=tuple(map(figures, sorted({key for _, row in rows for key in row if _measures(key, RISING_SCORES)}))),
        aborted=next((str(row[key]) for _, row in reversed(rows) for key in ABORTED_KEYS if key in row), ""),
    )


def _measures(key: str, scores: Set[str]) -> bool:
    words = set(key.lower().replace(" ", "_").split("_"))
    return "eval" in words and bool(words & scores) and "token" not in words  # that of tokens is the loss once more


def _number(row: Mapping[str, Any], key: str, number: int) -> float | None:
    value = row.get(key)
    if value is None:
        return None
    try:
        if isinstance(value, bool):
            raise TypeError
        read = float(value)
    except (TypeError, ValueError, OverflowError):
        raise DataError(f"row {number} of the log history: {key} is {value!r:.40}, not a number") from None
    # A loss or a gradient that is no number is what happened; these the trainer sets itself.
    if key in ("step", "epoch", "learning_rate") and not math.isfinite(read):
        raise DataError(
            f"row {number} of the log history: {key} is {read}, which no trainer writes; is the file intact?"
        )
    return read


def log_history(path: Path) -> list[dict[str, Any]]:
    """The log rows in `path`: a trainer_state.json, a list of its rows, or the folder of a run.

    Of a folder it is the file that `state_file` names.

    Raises:
        DataError: there is none, it is not what a Hugging Face trainer writes, or it holds no rows.
    """
    file = state_file(path)
    state = _parsed(file)
    rows = state.get("log_history") if isinstance(state, dict) else state
    if rows is None:
        raise DataError(f"{file}: no field log_history, so not the state of a Hugging Face trainer; {_WANTED}")
    if not isinstance(rows, list):
        raise DataError(f"{file}: log_history is {type(rows).__name__}, not a list of rows; {_WANTED}")
    if not rows:
        raise DataError(f"{file}: log_history is empty; set logging_steps below the number of steps and train again")
    if all(isinstance(row, dict) and not row.keys() & {"step", "epoch", "loss", "eval_loss"} for row in rows):
        raise DataError(f"{file}: no row has a step, an epoch or a loss, so this is no log of a training; {_WANTED}")
    return rows


_WANTED = "give a trainer_state.json, or a folder that holds one or checkpoint-N folders with one"


def state_file(path: Path) -> Path:
    """The file that `path` stands for: itself, or in the folder of a run the state that is furthest.

    That is its own trainer_state.json, or the one of the newest checkpoint-N folder where the own one ended at an earlier
    step: it is then left over from before the training went on.

    Raises:
        DataError: the folder holds neither, or its own trainer_state.json cannot be read.
    """
    if not path.is_dir():
        return path
    numbered = {
        int(state.parent.name[11:]): state
        for state in path.glob("checkpoint-*/trainer_state.json")
        if state.parent.name[11:].isdigit()
    }
    newest, own = max(numbered, default=None), path / "trainer_state.json"
    if own.is_file():
        state = _parsed(own)
        reached = state.get("global_step") if isinstance(state, dict) else None
        return numbered[newest] if newest is not None and isinstance(reached, int) and reached < newest else own
    if newest is None:
        raise DataError(f"{path}: no trainer_state.json in this folder or in a checkpoint-N folder of it; {_WANTED}")
    return numbered[newest]


def _parsed(file: Path) -> Any:
    text = ""
    try:
        text = file.read_text(encoding="utf-8")
        return json.loads(text)
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}); {_WANTED}") from error
    except ValueError as error:
        if text.startswith("version https://git-lfs"):
            raise DataError(f"{file}: a pointer of Git LFS, not the file; run git lfs pull and try again") from error
        raise DataError(f"{file}: not JSON ({error}); {_WANTED}") from error
