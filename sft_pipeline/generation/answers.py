"""The answers of one model to one split, with everything that a comparison must have in common."""

import json
import logging
import time
from pathlib import Path
from typing import Literal

from sft_pipeline.artifacts import (
    AdapterSnapshot,
    Generations,
    GuardReport,
    InstructionDataset,
    ModelSnapshot,
    TrainingReport,
)
from sft_pipeline.dataset.table import read_table
from sft_pipeline.errors import PreconditionError
from sft_pipeline.experiment import Experiment
from sft_pipeline.generation.engine import TransformersEngine
from sft_pipeline.provenance.hashing import canonical_json, hash_value

log = logging.getLogger(__name__)


def generate(
    experiment: Experiment,
    model: Literal["base", "sft"],
    base: ModelSnapshot,
    adapter: AdapterSnapshot | None,
    items: InstructionDataset,
    out: Path,
) -> Generations:
    """Let the base model, or the base model with its adapter, answer every item of `items` greedily.

    A sample of the items is generated a second time in batches of another size: the share whose text differs is the
    flip rate. Writes `generations.parquet` and `flips.json` to `out`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    decoding = experiment.generation
    rows = read_table(items.path(InstructionDataset.ROWS), ["id", "instruction"])
    prompts = [experiment.prompt.render(row["instruction"]) for row in rows]
    folder = adapter.root / "adapter" if adapter else None
    engine = TransformersEngine(base, experiment.model)
    started = time.monotonic()
    answers = engine.answer(prompts, decoding, adapter=folder)
    seconds = time.monotonic() - started
    tokens = sum(a.tokens for a in answers)
    log.info("%s: %d answers, %d tokens in %.1f s", model, len(answers), tokens, seconds)

    # Ids are hashes, so the first ones in their order are a random sample, and the same for base and adapter.
    sample = sorted(range(len(rows)), key=lambda i: rows[i]["id"])[: decoding.repeat_sample]
    again = engine.answer(
        [prompts[i] for i in sample], decoding, adapter=folder, batch_size=max(1, decoding.batch_size // 3)
    )
    flips = [
        {"id": rows[i]["id"], "first": answers[i].text, "second": second.text}
        for i, second in zip(sample, again, strict=True)
        if answers[i].text != second.text
    ]
    (out / "flips.json").write_text(json.dumps(flips, indent=1, ensure_ascii=False))
    table = {
        "id": [row["id"] for row in rows],
        "prompt": prompts,
        "output": [a.text for a in answers],
        "tokens": [a.tokens for a in answers],
        "finish_reason": [a.finish_reason for a in answers],
    }
    pq.write_table(pa.table(table), out / Generations.ROWS, compression="zstd")
    return Generations.seal(
        out,
        model=model,
        rows=len(rows),
        conditions=conditions(experiment, base, items, engine),
        truncated_share=sum(a.finish_reason == "length" for a in answers) / len(answers),
        mean_tokens=tokens / len(answers),
        flip_rate=len(flips) / len(sample) if sample else None,
        measurements={"seconds": round(seconds, 3), "tokens_per_second": round(tokens / seconds, 1)},
    )


def check(items: InstructionDataset, guard: GuardReport, training: TrainingReport | None = None) -> None:
    """Refuse to spend time on answers that the gate could not use: a blocking check protects only its own run.

    Raises:
        PreconditionError: naming what did not pass.
    """
    problems = [f"guard: {problem}" for problem in guard.problems]
    if items.proof is not None and not items.proof.clean:
        problems.append(f"split: {items.proof.against} leaks")
    if training is not None and not training.healthy:
        problems += [f"training: {f.evidence}" for f in training.findings if f.severity == "blocking"]
    if problems:
        raise PreconditionError("generation refused:\n" + "\n".join(f"- {problem}" for problem in problems))


def conditions(
    experiment: Experiment, base: ModelSnapshot, items: InstructionDataset, engine: TransformersEngine
) -> dict[str, str]:
    """What base and fine-tuned generations must have in common, each as a text that can be compared and shown."""
    return {
        "items": items.digest,
        "base": base.digest,
        "prompt": hash_value(experiment.prompt.model_dump()),
        "decoding": canonical_json(experiment.generation.model_dump(mode="json")),
        "engine": canonical_json({engine.name: engine.versions()}),
        "device": experiment.model.device,
        "dtype": experiment.model.dtype,
        "quantization": experiment.model.quantization,
    }
