"""The answers of one model to one split, with everything that a comparison must have in common."""

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from sft_pipeline.artifacts import (
    AdapterSnapshot,
    Generations,
    GuardReport,
    InstructionDataset,
    ModelSnapshot,
    TrainingReport,
    eligibility,
)
from sft_pipeline.dataset.table import asked, read_table
from sft_pipeline.experiment import Experiment
from sft_pipeline.generation.engines import inference_settings
from sft_pipeline.generation.engines.engine import Engine, adapter_content
from sft_pipeline.model.completion import Completion
from sft_pipeline.model.prompts import prompts as prompts_of
from sft_pipeline.provenance.hashing import canonical_json, hash_value
from sft_pipeline.provenance.journal import Journal

log = logging.getLogger(__name__)

FILE = "answers.jsonl"
"""Answers of a generation under way, in the step's own folder: the conditions, then a record per chunk of prompts."""


def generate(
    experiment: Experiment,
    model: Literal["base", "sft"],
    base: ModelSnapshot,
    adapter: AdapterSnapshot | None,
    items: InstructionDataset,
    engine: Engine,
    work: Path,
    out: Path,
) -> Generations:
    """Let the base model, or the base model with its adapter, answer every item of `items`.

    Finished chunks are kept in `work`: a generation that was killed resumes there and ends with the same bytes. Greedy
    answers are measured: a sample of the items is generated a second time in batches of another size, and the share whose
    text differs is the flip rate. Writes `generations.parquet` and `flips.json` to `out`.

    Raises:
        ModelError: an item leaves no room for an answer, or the engine failed.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    decoding = experiment.generation
    rows = read_table(items.path(InstructionDataset.ROWS), asked(items.path(InstructionDataset.ROWS)))
    prompts = prompts_of(experiment, engine.tokenizer, rows, engine.context)
    folder = adapter.root / "adapter" if adapter else None
    common = conditions(experiment, base, items, engine)
    header = {"model": model, "adapter": folder and adapter_content(folder), "conditions": common}
    started = time.monotonic()
    answers, computed = resumed(engine, experiment, prompts, folder, work, header)
    seconds = time.monotonic() - started
    tokens = sum(a.tokens for a in answers)
    log.info("%s: %d answers by %s, %d tokens in %.1f s", model, len(answers), engine.name, tokens, seconds)

    # Ids are hashes, so the first ones in their order are a random sample, and the same for base and adapter.
    again = 0 if decoding.sampling else decoding.repeat_sample
    sample = sorted(range(len(rows)), key=lambda i: rows[i]["id"])[:again]
    repeated = engine.answer(
        [prompts[i] for i in sample], decoding, adapter=folder, batch_size=_another(decoding.batch_size)
    )
    flips = [
        {"id": rows[i]["id"], "first": answers[i].text, "second": second.text}
        for i, second in zip(sample, repeated, strict=True)
        if answers[i].text != second.text
    ]
    (out / "flips.json").write_text(json.dumps(flips, indent=1, ensure_ascii=False))
    table = {
        "id": [row["id"] for row in rows],
        "prompt": prompts,
        "output": [a.text for a in answers],
        "tokens": [a.tokens for a in answers],
        "finish_reason": [a.finish_reason for a in answers],
        "mean_logprob": pa.array([a.mean_logprob for a in answers], pa.float64()),
    }
    pq.write_table(pa.table(table), out / Generations.ROWS, compression="zstd")
    likely = [a.mean_logprob for a in answers if a.mean_logprob is not None]
    return Generations.finalize(
        out,
        model=model,
        rows=len(rows),
        conditions=common,
        truncated_share=sum(a.finish_reason == "length" for a in answers) / len(answers),
        mean_tokens=tokens / len(answers),
        mean_logprob=sum(likely) / len(likely) if likely else None,
        flip_rate=len(flips) / len(sample) if sample else None,
        trained_on=_trained_on(adapter) if adapter else {},
        measurements={
            "seconds": round(seconds, 3),
            "tokens_per_second": round(sum(a.tokens for a in computed) / seconds, 1),
            "resumed_answers": len(answers) - len(computed),
        },
    )


def resumed(
    engine: Engine,
    experiment: Experiment,
    prompts: list[str],
    adapter: Path | None,
    work: Path,
    header: Mapping[str, Any],
    file: str = FILE,
) -> tuple[list[Completion], list[Completion]]:
    """All answers in the order of `prompts`, and those of them that were computed now; the others lay in `work`.

    Args:
        engine: the loaded base model.
        experiment: gives the decoding.
        prompts: rendered prompts.
        adapter: folder of the adapter; None is the base model.
        work: the step's own folder.
        header: everything that the answers depend on; answers under another header are discarded.
        file: name of the journal in `work`.
    """
    order = list(range(len(prompts)))
    if engine.by_length:
        lengths = engine.tokenizer.count(prompts)
        order.sort(key=lambda i: -lengths[i])

    def answer(chunk: list[int]) -> list[dict[str, Any]]:
        asked = [prompts[i] for i in chunk]
        return [asdict(answer) for answer in engine.answer(asked, experiment.generation, adapter=adapter)]

    found, kept = in_chunks(work / file, header, order, engine.chunk(experiment.generation), answer)
    if kept:
        log.info("%d answers of an interrupted generation are kept", kept)
    answers = [Completion(**answer) for answer in found]
    return answers, [answers[i] for i in order[kept:]]


def in_chunks(
    file: Path, header: Mapping[str, Any], order: list[int], size: int, compute: Callable[[list[int]], list[Any]]
) -> tuple[list[Any], int]:
    """What `compute` makes of the positions in `order`, by position, and how many lay in `file` already.

    A chunk is kept whole or not at all: its rows share batches, and with them the last bits of the arithmetic.

    Args:
        file: journal of the finished chunks.
        header: everything that the results depend on; results under another header are discarded.
        order: every position once.
        size: positions of a chunk.
        compute: takes the positions of a chunk and returns a JSON value for each.
    """
    journal = Journal(file, header={**header, "chunk": size})
    done = [value for chunk in journal.records for value in chunk]
    kept = len(done)
    for start in range(kept, len(order), size):
        chunk = compute(order[start : start + size])
        journal.add(chunk)
        done += chunk
    by_position = dict(zip(order, done, strict=True))
    return [by_position[i] for i in range(len(order))], kept


def check(
    items: InstructionDataset,
    guard: GuardReport,
    training: TrainingReport | None = None,
    adapter: AdapterSnapshot | None = None,
) -> None:
    """Refuse to spend time on answers that the gate could not use.

    Raises:
        PreconditionError: naming what did not pass.
    """
    problems = eligibility.guard_problems(guard)
    problems += eligibility.split_problems(items, adapter.training_data if adapter else ())
    eligibility.require("generation", problems + eligibility.training_problems(training))


def conditions(
    experiment: Experiment, base: ModelSnapshot, items: InstructionDataset | None, engine: Engine
) -> dict[str, str]:
    """What base and fine-tuned generations must have in common, each as a text that can be compared and shown.

    Without `items` where what is asked is named elsewhere.
    """
    spec, decoding = inference_settings(experiment), experiment.generation
    decides = {"max_new_tokens", "stop", "sampling", "batch_size"}
    return {
        **({"items": items.digest} if items else {}),
        "base": base.digest,
        "prompt": hash_value(experiment.prompt.model_dump()),
        "decoding": canonical_json(decoding.model_dump(mode="json", include=decides)),
        "engine": canonical_json({engine.name: engine.versions()}),
        "device": spec.device,
        "dtype": spec.dtype,
        "quantization": _quantization(spec.loading),
        "attention": spec.attention if engine.name == "transformers" else engine.name,
        **({"bos": spec.bos} if spec.bos != "none" else {}),
    }


def _another(size: int) -> int:
    """Another size of batches: the last bits of the arithmetic depend on it."""
    return max(1, size // 3) if size > 1 else 2


def _trained_on(adapter: AdapterSnapshot) -> dict[str, str]:
    """Precision and quantisation of the base that the adapter was trained on, by its own manifest."""
    model = json.loads(adapter.path("training_manifest.json").read_text())["model"]
    return {"dtype": model["dtype"], "quantization": _quantization(model)}


def _quantization(loading: Mapping[str, Any]) -> str:
    """The quantisation with what else decides its weights."""
    match loading["quantization"]:
        case "nf4":
            return "nf4, double" if loading["double_quantization"] else "nf4"
        case "int8":
            return f"int8, threshold {loading['int8_threshold']:g}"
    return loading["quantization"]
