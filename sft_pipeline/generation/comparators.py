"""The prompted base: its answers to the same items with examples from the training split, or another template."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sft_pipeline.artifacts import ComparatorGenerations, InstructionDataset, ModelSnapshot, PromptedAnswers
from sft_pipeline.dataset.table import read_table
from sft_pipeline.errors import DataError
from sft_pipeline.experiment import Comparator, Experiment
from sft_pipeline.generation.answers import conditions, resumed
from sft_pipeline.generation.engines.engine import Engine
from sft_pipeline.generation.examples import Asked, Row, choose, fit, plain_tokens, stops
from sft_pipeline.provenance.hashing import hash_value

log = logging.getLogger(__name__)

NONE = "none.txt"
"""Stands in the artifact where no comparator is declared."""


def generate_comparators(
    experiment: Experiment,
    base: ModelSnapshot,
    train: InstructionDataset,
    items: InstructionDataset,
    engine: Callable[[], Engine],
    work: Path,
    out: Path,
) -> ComparatorGenerations:
    """Let the base answer every item with the prompt of each declared comparator.

    Writes `NAME.parquet` for each to `out`; a killed generation resumes in `work` and ends with the same bytes.

    Args:
        experiment: gives the comparators and the decoding.
        base: the base model.
        train: the split that the examples come from, and no other.
        items: the test split.
        engine: gives the loaded base; asked only where there are comparators.
        work: the step's own folder.
        out: empty folder.

    Raises:
        DataError: the training split has too few rows, or no prompt has room for an example.
        ModelError: the engine failed.
    """
    if not experiment.evaluation.comparators:
        (out / NONE).write_text("The specification declares no comparators (evaluation.comparators).\n", "utf-8")
        return ComparatorGenerations.finalize(out)
    rows = read_table(items.path(InstructionDataset.ROWS))
    train_rows = read_table(train.path(InstructionDataset.ROWS))
    started, made, computed = time.monotonic(), {}, 0
    for name, spec in experiment.evaluation.comparators.items():
        made[name], new = _answers(name, spec, experiment, base, train_rows, rows, items, engine(), work, out)
        computed += new
    plain = plain_tokens(experiment, rows, engine().tokenizer, engine().context)
    seconds = time.monotonic() - started
    return ComparatorGenerations.finalize(
        out,
        comparators=made,
        prompt_tokens=sum(plain) / len(plain),
        measurements={"seconds": round(seconds, 3), "computed_answers": computed},
    )


def _answers(
    name: str,
    spec: Comparator,
    experiment: Experiment,
    base: ModelSnapshot,
    train: Sequence[Row],
    rows: Sequence[Row],
    items: InstructionDataset,
    engine: Engine,
    work: Path,
    out: Path,
) -> tuple[PromptedAnswers, int]:
    """The answers of one comparator, and how many of them were computed now."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pool, chosen, notes = choose(name, spec, experiment, train, rows)
    prompts = fit(spec, experiment, pool, chosen, rows, engine.tokenizer, engine.context)
    asked = [(row, one, one.prompt) for row, one in zip(rows, prompts, strict=True) if one.prompt is not None]
    unasked = [row["id"] for row, one in zip(rows, prompts, strict=True) if one.prompt is None]
    shown = sum(len(one.examples) for _, one, _ in asked)
    if not shown and spec.examples or not asked:
        raise DataError(
            f"evaluation.comparators.{name}: no item's prompt has room for {'an example' if asked else 'its answer'} in the "
            f"model's context of {engine.context} tokens; shorten the template or the examples, or remove the comparator"
        )
    notes += _room_notes(spec, [one for _, one, _ in asked], unasked, len(rows))
    decoding = experiment.generation.model_copy(update={"stop": stops(spec, experiment)})
    answering = experiment.model_copy(update={"generation": decoding})
    common = conditions(answering, base, items, engine) | {"prompt": hash_value(spec.model_dump(mode="json"))}
    header = {"comparator": name, "prompts": hash_value([prompt for *_, prompt in asked]), "conditions": common}
    answers, new = resumed(
        engine, answering, [prompt for *_, prompt in asked], None, work, header, file=f"answers-{name}.jsonl"
    )
    log.info("%s: %d answers by %s, %d of them now", name, len(answers), engine.name, len(new))
    ids = [row["id"] for row in pool]
    table = [
        {"id": row["id"], "prompt": prompt, "output": given.pop("text"), **given}
        | {"prompt_tokens": one.tokens, "examples": [ids[position] for position in one.examples]}
        for (row, one, prompt), given in zip(asked, map(asdict, answers), strict=True)
    ]
    pq.write_table(pa.Table.from_pylist(table, schema=_schema(pa)), out / f"{name}.parquet", compression="zstd")
    return PromptedAnswers(
        label=_label(name, spec, shown / len(asked)),
        conditions=common,
        rows=len(asked),
        unasked=tuple(unasked),
        notes=tuple(notes),
        prompt_tokens=sum(one.tokens for _, one, _ in asked) / len(asked),
        mean_tokens=sum(a.tokens for a in answers) / len(answers),
        truncated_share=sum(a.finish_reason == "length" for a in answers) / len(answers),
    ), len(new)


def _room_notes(spec: Comparator, asked: Sequence[Asked], unasked: Sequence[str], rows: int) -> list[str]:
    """What did not fit: examples that were left out, and items that were not asked."""
    found = []
    if fewer := sum(len(one.examples) < spec.examples for one in asked):
        none = sum(not one.examples for one in asked)
        found.append(
            f"{fewer} of {rows} items have fewer than {spec.examples} examples, {none} of them none: more leave no room for the "
            "answer in the model's context, or are near the item; the longest were left out first"
        )
    if unasked:
        listed = ", ".join(unasked[:3]) + (", …" if unasked[3:] else "")
        found.append(
            f"{len(unasked)} of {rows} items were not asked, for the prompt leaves no room for the answer: {listed}"
        )
    return found


def _label(name: str, spec: Comparator, shown: float) -> str:
    """What the comparator is, as the headline names it."""
    if not spec.examples:
        return f"the template {name}"
    number = (
        f"{spec.examples} {'nearest ' if spec.choose == 'nearest' else ''}example{'s' if spec.examples > 1 else ''}"
    )
    if shown < spec.examples:
        return f"a prompt with up to {number} ({shown:.1f} on average)"
    return f"a prompt with the {number}" if spec.choose == "nearest" else f"a prompt with {number}"


def _schema(pa: Any) -> Any:
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("prompt", pa.string(), nullable=False),
            pa.field("output", pa.string(), nullable=False),
            pa.field("tokens", pa.int64(), nullable=False),
            pa.field("finish_reason", pa.string(), nullable=False),
            pa.field("mean_logprob", pa.float64()),
            pa.field("prompt_tokens", pa.int64(), nullable=False),
            pa.field("examples", pa.list_(pa.string()), nullable=False),  # ids of training rows, in their order
        ]
    )
