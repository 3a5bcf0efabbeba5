"""How many steps there are, and in which order the rows come; the learning rate at each step as the plan shows it.

Pure arithmetic, shared by the plan and the trainer: what was planned is what is trained. The trainer's own rate is that of the
scheduler which `trl_config.py` names; a test compares the two.
"""

import math
import random
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import count, islice, takewhile
from typing import Any

from sft_pipeline.diagnosis.rules.learning_rate import NEGLIGIBLE
from sft_pipeline.experiment import Lora, Training


def slices(rows: int, training: Training) -> Iterator[tuple[int, int, int]]:
    """Pass, and the bounds in its order of rows, of what each step reads; without end. The last step of a pass is smaller.

    For one process: with several, accelerate divides the rows.
    """
    step = 0
    for epoch in count():
        start = 0
        while start < rows:
            end = min(start + training.batch_at(step), rows)
            yield epoch, start, end
            start, step = end, step + 1


def steps_per_epoch(rows: int, training: Training) -> int:
    """Optimiser steps of one pass, as the Hugging Face trainer counts them: the last, smaller batch is kept.

    Of a batch that grows, those of the first pass.
    """
    if training.grows:
        return sum(1 for _ in takewhile(lambda part: part[0] == 0, slices(rows, training)))
    batches = math.ceil(rows / (training.batch_size * training.processes))  # of each process
    return max(math.ceil(batches / training.passes), 1)


def total_steps(rows: int, training: Training) -> int:
    """Optimiser steps of the whole run."""
    if training.max_steps is not None:
        return training.max_steps
    assert training.epochs is not None  # the schema asks for exactly one of the two
    if training.grows:
        wanted = training.epochs * rows
        return 1 + sum(1 for _ in takewhile(lambda part: part[0] * rows + part[2] < wanted, slices(rows, training)))
    return math.ceil(training.epochs * steps_per_epoch(rows, training))


def samples_seen(rows: int, training: Training, steps: int | None = None) -> int:
    """Rows that `steps` read, or the whole run; a pass ends with the rows, not with a full batch.

    A row counts once for each pass: those of `repeated_rows` are left out.
    """
    steps = total_steps(rows, training) if steps is None else steps
    if training.grows:
        return sum(end - start for _, start, end in islice(slices(rows, training), steps))
    passes, rest = divmod(steps, steps_per_epoch(rows, training))
    return passes * rows + min(rest * training.effective_batch, rows)


def repeated_rows(rows: int, training: Training) -> int:
    """Rows of a pass's beginning that accelerate reads again at its end, so that every process has as many."""
    return -rows % (training.batch_size * training.processes) if training.processes > 1 else 0


def warmup_steps(steps: int, training: Training) -> int:
    """Steps in which the learning rate rises linearly from 0."""
    return training.warmup_steps if training.warmup_steps is not None else math.ceil(steps * training.warmup_ratio)


def learning_rate(step: int, steps: int, warmup: int, training: Training) -> float:
    """Learning rate of the update with 0-based index `step`; at `step == steps` the value that the schedule ends with.

    The formulas of transformers.optimization, see `lr_scheduler_kwargs`.
    """
    return training.learning_rate * _factor(step, steps, warmup, training)


def _factor(step: int, steps: int, warmup: int, training: Training) -> float:
    options, kind = training.schedule_options, training.schedule
    floor = options.min_lr_ratio
    if step < warmup:
        rising = step / max(1, warmup)
        return floor + (1 - floor) * rising if kind == "warmup_stable_decay" else rising
    if kind == "constant":
        return 1.0
    progress = (step - warmup) / max(1, steps - warmup)
    if kind == "cosine_with_restarts":
        return 0.0 if progress >= 1 else _half_cosine(options.num_cycles * progress % 1)
    if kind == "polynomial":
        return floor + (1 - floor) * (1 - progress) ** options.power
    if kind == "warmup_stable_decay":
        decay = decay_steps(steps, warmup, training)
        progress = max(0.0, (step - steps + decay) / decay)
        falling = {"linear": 1 - progress, "cosine": _half_cosine(progress), "1-sqrt": 1 - math.sqrt(progress)}
        return floor + (1 - floor) * falling[options.decay_type]
    return floor + (1 - floor) * (max(0.0, 1 - progress) if kind == "linear" else max(0.0, _half_cosine(progress)))


def _half_cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))


def decay_steps(steps: int, warmup: int, training: Training) -> int:
    """Steps in which warmup_stable_decay falls: its share of all steps, but none of the warm-up's."""
    return max(1, min(round(steps * training.schedule_options.decay_ratio), steps - warmup))


def lr_scheduler_kwargs(steps: int, warmup: int, training: Training) -> dict[str, Any]:
    """The declared options as transformers' scheduler of that name takes them."""
    options = training.schedule_options
    floor = options.min_lr_ratio
    declared: dict[str, dict[str, Any]] = {
        "cosine_with_min_lr": {"min_lr_rate": floor},
        "cosine_with_restarts": {"num_cycles": options.num_cycles},
        "polynomial": {"lr_end": floor * training.learning_rate, "power": options.power},
        "warmup_stable_decay": {
            "num_decay_steps": decay_steps(steps, warmup, training),
            "decay_type": options.decay_type,
            "min_lr_ratio": floor,
        },
    }
    return declared.get(training.schedule, {})


def negligible_from(steps: int, warmup: int, training: Training) -> int | None:
    """First step of the tail in which the learning rate is below 1 % of its peak; None where it never is."""
    # In its last cycle, and without restarts after the warm-up, no schedule rises again: search its tail by halving.
    cycles = training.schedule_options.num_cycles
    start = warmup + math.ceil((steps - warmup) * (cycles - 1) / cycles)
    low = bisect_left(
        range(steps),
        True,
        lo=min(start, steps),
        key=lambda step: learning_rate(step, steps, warmup, training) < NEGLIGIBLE * training.learning_rate,
    )
    return low if low < steps else None


def sampled_steps(steps: int, warmup: int) -> list[int]:
    """Steps from 0 to `steps` at which a picture of the schedule is drawn: a thousand, each tenth and the warm-up's end."""
    share = max(1, min(steps, 1000))
    every = {steps * k // share for k in range(share + 1)}
    return sorted(every | {round(steps * k / 10) for k in range(11)} | {min(warmup, steps)})


def lora_scaling(lora: Lora) -> float:
    """Factor of the adapter's output: alpha / r, or alpha / sqrt(r) when rank-stabilised (Kalajdzievski 2023)."""
    return lora.alpha / math.sqrt(lora.r) if lora.rslora else lora.alpha / lora.r


def row_order(lengths: Sequence[int], training: Training, epoch: int) -> list[int]:
    """Order in which pass `epoch` reads the rows; batches are consecutive pieces of `batch_size`.

    It follows from the seed, the pass and the lengths alone, and from no global random state: a resumed run reads the
    same batches, and the plan counts the padding of exactly these. With `batching: grouped` the shuffled rows are sorted
    within groups of 50 steps and the batches then shuffled, so that lengths are similar within a batch but follow no
    course over the run.
    """
    generator = random.Random(f"{training.seed}/{epoch}")
    order = list(range(len(lengths)))
    generator.shuffle(order)
    if training.batching in ("plain", "packed"):
        return order
    # A step's rows are alike as a whole: how it is divided into forward passes and processes must not matter.
    size = training.effective_batch
    group = 50 * size
    ordered: list[int] = []
    for start in range(0, len(order), group):
        ordered += sorted(order[start : start + group], key=lambda i: lengths[i], reverse=True)
    batches = [ordered[start : start + size] for start in range(0, len(ordered), size)]
    last = batches.pop() if len(batches[-1]) < size else []  # the smaller batch must stay at the end
    generator.shuffle(batches)
    return [i for batch in batches for i in batch] + last


def padding_share(lengths: Sequence[int], training: Training) -> float:
    """Share of padding among all positions of the first pass, every batch padded to its longest row.

    Packed rows stand one after the other: there is none.
    """
    if training.batching == "packed" or not lengths:
        return 0.0
    order = row_order(lengths, training, epoch=0)
    positions = 0
    for start in range(0, len(order), training.batch_size):
        batch = [lengths[i] for i in order[start : start + training.batch_size]]
        positions += len(batch) * max(batch)
    return 1.0 - sum(lengths) / positions if positions else 0.0


def packed_sequences(lengths: Sequence[int], limit: int) -> list[list[int]]:
    """Rows, by their index, in as few sequences of at most `limit` tokens as best-fit decreasing finds."""
    sequences: list[tuple[int, list[int]]] = []
    for row in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        fitting = [n for n, (room, _) in enumerate(sequences) if room >= lengths[row]]
        if not fitting:
            sequences.append((limit - lengths[row], [row]))
            continue
        best = min(fitting, key=lambda n: sequences[n][0])
        room, rows = sequences[best]
        sequences[best] = room - lengths[row], [*rows, row]
    return [sorted(rows) for _, rows in sequences]


class StepSampler:
    """Batch sampler of steps that come whole: the rows of each optimiser step, from the first to the last of the run."""

    def __init__(self, lengths: Sequence[int], training: Training, steps: int):
        self.lengths, self.training, self.steps = lengths, training, steps

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[int]]:
        order, of = [], -1
        for epoch, start, end in islice(slices(len(self.lengths), self.training), self.steps):
            if epoch != of:
                order, of = row_order(self.lengths, self.training, epoch), epoch
            yield order[start:end]


class RowSampler:
    """Sampler for the trainer's data loader that yields `row_order` of the current pass."""

    def __init__(self, lengths: Sequence[int], training: Training):
        self.lengths = lengths
        self.training = training
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        return iter(row_order(self.lengths, self.training, self.epoch))

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate at the start of each pass."""
        self.epoch = epoch
