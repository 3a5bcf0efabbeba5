"""The series in a training log, whichever trainer wrote it."""

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any

from sft_pipeline.errors import DataError

Series = list[tuple[float, float]]
"""Values with their steps, in order."""

KEYS = {
    "step": ("step", "global_step", "current_steps", "iteration", "iter", "_step"),
    "epoch": ("epoch", "current_epoch"),
    "loss": ("loss", "train_loss", "training_loss", "train_loss_step", "loss_step", "train_loss_epoch", "lm_loss"),
    "eval_loss": ("eval_loss", "val_loss", "valid_loss", "validation_loss", "dev_loss"),
    "learning_rate": ("learning_rate", "lr"),
    "grad_norm": ("grad_norm", "gradient_norm", "global_grad_norm"),
    "mean_token_accuracy": ("mean_token_accuracy", "token_accuracy"),
}
"""What the rules read, with the keys that trainers write for it, the preferred one first. `train/loss` of W&B counts as
`loss`, `eval/loss` as `eval_loss`."""

REWARD_KEYS = ("reward", "rewards/chosen", "kl", "objective/kl")
"""Keys of trainers that learn from rewards or preferences: their loss is not a cross entropy."""

PAIR_KEY = "rewards/chosen"
"""Key of trainers that learn from pairs of answers: their loss begins at a level of its own and should fall."""

GAIN_KEYS = ("reward", "rewards/margins", "objective/rlhf_reward", "objective/scores", "rewards/accuracies", PAIR_KEY)
"""Keys of what such trainers should raise, the most important one first."""

RISING_SCORES = {"accuracy", "acc", "f1", "auc", "matthews", "mcc", "iou"}
"""Words in the keys of evaluations that measure labels as a whole; higher is better."""

SCORES = RISING_SCORES | {"precision", "recall", "wer", "cer"}
"""Words in the keys of evaluations that measure labels or transcripts, where a loss of nearly 0 can be deserved."""

ABORTED_KEY = "aborted_by_watchdog"
"""Key of the log record that the watchdog adds to the log of a run that it stopped: the reason."""

ABORTED_KEYS = (ABORTED_KEY, "stopped_as_lost")
"""The same, with its key in older logs."""


@dataclass(frozen=True)
class Log:
    """A training log as series; a step that was logged twice (a resumed run) counts with its last value.

    Attributes:
        loss: training loss.
        dev: dev loss; the mean over the evaluation sets where there are several and no plain `eval_loss`.
        norm: gradient norm.
        rate: learning rate.
        module_norms: gradient norms by adapted module, where logged.
        clipped: share of the steps since the last record whose gradient was clipped.
        accuracy: token accuracy in training.
        epoch: passes over the data.
        dev_sets: the dev losses of each evaluation set, where the dev loss is their mean.
        rewards: the log is one of reinforcement or preference learning.
        pairs: the log is one of learning from pairs of answers.
        gains: what such a training should raise, by key: rewards, or margins between the answers of a pair.
        scored: the evaluations measure labels or transcripts besides the loss.
        scores: such measures of which more is better.
        aborted: why the watchdog stopped the run, where it did.
        keys: all keys of the records.
    """

    loss: Series
    dev: Series
    norm: Series
    rate: Series
    accuracy: Series
    epoch: Series
    module_norms: dict[str, Series] = field(default_factory=dict)
    clipped: Series = field(default_factory=list)
    dev_sets: tuple[Series, ...] = ()
    rewards: bool = False
    pairs: bool = False
    gains: dict[str, Series] = field(default_factory=dict)
    scored: bool = False
    scores: tuple[Series, ...] = ()
    aborted: str = ""
    keys: tuple[str, ...] = ()

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
        """Noise of the training loss relative to its level."""
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


def canonical(log_history: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The log records under the keys of the Hugging Face trainer; empty values are left out.

    Raises:
        DataError: a record is not an object.
    """
    records = []
    for number, record in enumerate(log_history, start=1):
        if not isinstance(record, Mapping):
            raise DataError(f"record {number} of the log is {type(record).__name__}, not an object")
        records.append({_plain(key): value for key, value in record.items() if value is not None and value != ""})
    present = {key for record in records for key in record if not _is_summary(record, key)}
    names: dict[str, str] = {}
    for key, aliases in KEYS.items():
        names |= dict.fromkeys([alias for alias in aliases if alias in present][:1], key)
    return [
        {names.get(key, key): value for key, value in record.items() if not _is_summary(record, key)}
        for record in records
    ]


def _plain(key: str) -> str:
    key = key.strip().lower().replace(" ", "_")
    group, slash, name = key.partition("/")
    if slash and group in ("train", "trainer", "training"):
        return name
    return f"eval_{name}" if slash and group in ("eval", "val", "valid", "validation", "dev") else key


def _is_summary(record: Mapping[str, Any], key: str) -> bool:
    """Whether it is the mean loss of the whole run, which the Hugging Face trainer adds at the end."""
    return key == "train_loss" and any(name in record for name in ("train_runtime", "total_flos"))


def read(log_history: Iterable[Mapping[str, Any]]) -> Log:
    """The series in a trainer's log history.

    Numbers may be texts. A record without a step, as some trainers write it, is given the number of training records so
    far. Keys as in `KEYS`.

    Raises:
        DataError: a record is not an object, a value is not a number, or a step, an epoch or a learning rate is not finite.
    """
    rows: list[tuple[float, Mapping[str, Any]]] = []
    counted = 0
    for number, row in enumerate(canonical(log_history), start=1):
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

    def figures(key: str) -> Series:  # other keys may hold lists or texts: that is no fault of the log
        found = {step: float(row[key]) for step, row in rows if _is_figure(row.get(key))}
        return sorted(found.items())

    keys = sorted({key for _, row in rows for key in row})
    dev = series("eval_loss")
    names = [key for key in keys if key.startswith("eval_") and key.endswith("_loss")]
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
        module_norms={key.partition("/")[2]: figures(key) for key in keys if key.startswith("module_grad_norm/")},
        clipped=figures("clipped_share"),
        dev_sets=tuple(sets),
        rewards=any(key in keys for key in REWARD_KEYS),
        pairs=PAIR_KEY in keys,
        gains={key: values for key in GAIN_KEYS if (values := figures(key))},
        scored=any(_measures(key, SCORES) for key in keys),
        scores=tuple(figures(key) for key in keys if _measures(key, RISING_SCORES)),
        aborted=next((str(row[key]) for _, row in reversed(rows) for key in ABORTED_KEYS if key in row), ""),
        keys=tuple(keys),
    )


def _measures(key: str, scores: Set[str]) -> bool:
    words = set(key.split("_"))
    return "eval" in words and bool(words & scores) and "token" not in words  # that of tokens is the loss once more


def _is_figure(value: Any) -> bool:
    if isinstance(value, str):
        try:
            return math.isfinite(float(value))
        except ValueError:
            return False
    return type(value) in (int, float)


def _number(row: Mapping[str, Any], key: str, number: int) -> float | None:
    value = row.get(key)
    if value is None:
        return None
    try:
        if isinstance(value, bool):
            raise TypeError
        figure = float(value)
    except (TypeError, ValueError, OverflowError):
        raise DataError(f"record {number} of the log: {key} is {value!r:.40}, not a number") from None
    # A non-finite loss or gradient is what happened; these the trainer sets itself.
    if key in ("step", "epoch", "learning_rate") and not math.isfinite(figure):
        raise DataError(f"record {number} of the log: {key} is {figure}, which no trainer writes; is the file intact?")
    return figure
