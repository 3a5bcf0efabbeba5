"""One training of a search in a process of its own: plan, training and figure by the project's own code.

The process leaves `result.json` in the trial's folder, whole or not at all. One that was killed is started again and resumes at
its last checkpoint; it waits until its predecessor has ended.
"""

import json
import math
import shutil
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sft_pipeline.artifacts import AdapterSnapshot, GuardReport, InstructionDataset, ModelSnapshot
from sft_pipeline.dataset.table import read_table
from sft_pipeline.errors import DataError, PipelineError, TrainingInterrupted
from sft_pipeline.evaluation.scoring.score import score_items
from sft_pipeline.experiment import Experiment
from sft_pipeline.generation.engines import open_engine
from sft_pipeline.generation.engines.engine import Engine, adapter_content
from sft_pipeline.model.prompts import prompts as prompts_of
from sft_pipeline.provenance import files
from sft_pipeline.provenance.journal import Journal
from sft_pipeline.training.child import child, free_memory
from sft_pipeline.training.tokenization import answers, encode

RESULT = "result.json"
LOG = "process.log"


@dataclass(frozen=True)
class Job:
    """What a process trains and measures.

    Attributes:
        experiment: the specification with the trial's values, and without a search.
        objective: dev_loss or dev_success.
        base: the base model.
        guard: its guard.
        train: the training rows.
        dev: rows for the evaluations during training, those of the search.
        asked: rows that the figure is taken on.
        root: the project's root.
        folder: the trial's own.
        earlier: dev losses by step of the completed trials before it, where a pruner compares; otherwise None.
    """

    experiment: Experiment
    objective: str
    base: ModelSnapshot
    guard: GuardReport
    train: InstructionDataset
    dev: InstructionDataset
    asked: InstructionDataset
    root: Path
    folder: Path
    earlier: list[dict[int, float]] | None = None


class Outcome(NamedTuple):
    """What a model did with a row: success (0 or 1), or its loss per token, and how much the row counts in the figure."""

    id: str
    value: float
    weight: float


class _Pruned(Exception):
    pass


def run(job: Job, visible: str | None, threads: int) -> None:
    """Make the trial and leave its result; the entry point of the process.

    Args:
        job: what is to be done.
        visible: the process's CUDA devices; None leaves those that its parent sees.
        threads: threads of the arithmetic on the CPU.
    """
    with child(job.folder / LOG, visible):
        if job.experiment.model.device == "cpu":
            import torch

            torch.set_num_threads(threads)
        try:
            result = make(job)
        except TrainingInterrupted:
            raise  # no result: it is started again
        except Exception as error:
            traceback.print_exc()
            reason = str(error) if isinstance(error, PipelineError) else f"{type(error).__name__}: {error}"
            result = made("failed", reason=reason)
        leave(job, result)


def leave(job: Job, result: Mapping[str, Any]) -> None:
    """Write the result."""
    files.write(job.folder / RESULT, json.dumps(result))


def make(job: Job) -> dict[str, Any]:
    """Plan, train and measure; returns the result, see `made`."""
    started = time.monotonic()
    before = Journal(job.folder / "losses.jsonl")
    losses: dict[int, float] = dict(before.records)

    def on_log(record: Mapping[str, Any]) -> None:
        if "eval_loss" not in record:
            return
        step, loss = record["step"], record["eval_loss"]
        if step not in losses:
            losses[step] = loss
            before.add([step, loss])
        if job.earlier is not None and step < record["steps"]:
            from sft_pipeline.search.study import prunes

            if prunes(job.earlier, losses):
                raise _Pruned

    try:
        adapter = _train(job, on_log)
    except _Pruned:
        step = max(losses)
        return made(
            "pruned",
            figure=losses[step],
            steps=step,
            seconds=time.monotonic() - started,
            reports=sorted(losses.items()),
            reason=f"its best dev loss by step {step} is above the median of the trials before it",
        )
    finally:
        free_memory()
    found = outcomes(job, adapter.root / "adapter")
    value = figure(found)
    if not math.isfinite(value):
        raise DataError(f"the {job.objective} of the trained adapter is not finite")
    return made(
        "complete",
        figure=value,
        steps=adapter.steps,
        seconds=max(time.monotonic() - started, float(adapter.measurements["seconds"])),  # of killed processes too
        reports=sorted(losses.items()),
        adapter=adapter_content(adapter.root / "adapter"),
        outcomes=found,
    )


def figure(found: Sequence[Outcome]) -> float:
    """Mean of the outcomes by their weights: loss per token over all tokens, or the share of successes."""
    return math.fsum(o.value * o.weight for o in found) / math.fsum(o.weight for o in found)


def made(state: str, **found: Any) -> dict[str, Any]:
    """What became of a trial: state (complete, pruned or failed), figure, steps, seconds, dev losses by step, reason, hash of the
    adapter, and outcomes by row.
    """
    empty: dict[str, Any] = {
        "figure": None,
        "steps": 0,
        "seconds": 0.0,
        "reports": [],
        "reason": "",
        "adapter": "",
        "outcomes": [],
    }
    return {"state": state, **empty, **found}


def _train(job: Job, on_log: Any) -> AdapterSnapshot:
    from sft_pipeline.model.tokenizer import load_tokenizer
    from sft_pipeline.planning import plan
    from sft_pipeline.training import tokenization
    from sft_pipeline.training.trainer import train

    experiment, base = job.experiment, job.base
    tokenizer = load_tokenizer(base.root, experiment.model, experiment.prompt)
    lengths, dev = (
        tokenization.lengths(experiment, tokenizer, read_table(split.path(split.ROWS)))
        for split in (job.train, job.dev)
    )
    config = json.loads(base.path("config.json").read_text("utf-8"))
    planned = plan.compute(experiment, lengths, {}, config, None, dev)  # the test items are no input of a search
    out = job.folder / "adapter"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    return train(experiment, base, job.guard, planned, job.train, job.dev, job.folder / "training", out, on_log=on_log)


def outcomes(job: Job, adapter: Path) -> list[Outcome]:
    """What the base with the adapter does with each of the asked rows.

    Raises:
        DataError: none of the rows can be judged.
    """
    rows = read_table(job.asked.path(InstructionDataset.ROWS))
    with open_engine(job.experiment, job.base) as engine:
        found = (_losses if job.objective == "dev_loss" else _successes)(job, engine, adapter, rows)
    if not found:
        raise DataError(f"none of the {len(rows)} dev rows can be judged by {job.objective}")
    return found


def _losses(job: Job, engine: Engine, adapter: Path, rows: Sequence[Mapping[str, Any]]) -> list[Outcome]:
    encoded = encode(job.experiment, engine.tokenizer, rows)  # without the rows that are fully masked
    asked = [(id, part) for id, example in zip(encoded.ids, encoded.examples) for part in answers(example)]
    scored = engine.score([part for _, part in asked], job.experiment.generation.batch_size, adapter=adapter)
    found: dict[str, list[float]] = {}
    for (id, _), one in zip(asked, scored, strict=True):
        found.setdefault(id, []).extend(one.logprobs)
    return [Outcome(id, -math.fsum(values) / len(values), len(values)) for id, values in found.items()]


def _successes(job: Job, engine: Engine, adapter: Path, rows: Sequence[Mapping[str, Any]]) -> list[Outcome]:
    prompts = prompts_of(job.experiment, engine.tokenizer, rows, engine.context)
    made = engine.answer(prompts, job.experiment.generation, adapter=adapter)
    texts = {row["id"]: answer.text for row, answer in zip(rows, made, strict=True)}
    judged = score_items(rows, texts, job.experiment.evaluation, job.root)
    return [Outcome(j.id, float(j.success), 1.0) for j in judged if j.success is not None]
