"""Makes the declared exports and judges each."""

import json
import logging
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sft_pipeline.artifacts import (
    AdapterSnapshot,
    ExportReport,
    ExportResult,
    Generations,
    InstructionDataset,
    ModelSnapshot,
)
from sft_pipeline.dataset.table import asked, read_table
from sft_pipeline.evaluation.inputs.outputs import read_outputs
from sft_pipeline.evaluation.scoring.score import inside
from sft_pipeline.experiment import Experiment
from sft_pipeline.generation.answers import resumed
from sft_pipeline.generation.engines import open_engine
from sft_pipeline.model.adapter_fit import dead
from sft_pipeline.model.loader import load_config
from sft_pipeline.model.prompts import prompts as prompts_of
from sft_pipeline.provenance.hashing import files_below, hash_file, hash_value
from sft_pipeline.release.export import gguf
from sft_pipeline.release.export.judge import compare
from sft_pipeline.release.export.merge import merge

log = logging.getLogger(__name__)

REPORT = "exports.json"


def export(
    experiment: Experiment,
    base: ModelSnapshot,
    adapter: AdapterSnapshot,
    test: InstructionDataset,
    base_answers: Generations,
    sft_answers: Generations,
    root: Path,
    work: Path,
    out: Path,
) -> ExportReport:
    """Write each declared export to `out/<kind>/` and judge it; one that is refused keeps its answers and not its weights.

    Args:
        experiment: the specification.
        base: the base's files.
        adapter: the gated adapter.
        test: the test split.
        base_answers: the base's answers to it.
        sft_answers: the gated adapter's answers to it.
        root: the project's root folder.
        work: folder that outlives a killed process.
        out: empty folder.

    Raises:
        ModelError: an export cannot be made, or cannot answer.
        DataError: answers that were made elsewhere do not fit.
    """
    declared, weights = experiment.export, adapter.path("adapter/adapter_model.safetensors")
    results: list[ExportResult] = []
    for kind in declared.kinds:
        shown = {"kind": kind, "margin": declared.margin}
        if dead(weights):
            detail = "every lora_B of the adapter is zero: it was never trained, and an export of it is the base"
            remedy = "Find out why the training left it so (FSDP with torch.compile is one way), and train again."
            results.append(ExportResult(**shown, verdict="dead_adapter", detail=detail, remedy=remedy))
            continue
        folder = out / kind
        folder.mkdir()
        converter = gguf.converter() if kind == "gguf" else None
        if converter is not None:
            _gguf(converter, experiment, base, adapter, work, folder)
        elif kind != "gguf":
            merge(base, experiment.model, adapter.root / "adapter", kind, folder, experiment.prompt)
        if kind in declared.outputs:
            file = inside(declared.outputs[kind], root, f"export.outputs.{kind}")
            outputs, engine = {str(o.id): o.output or "" for o in read_outputs(file)}, f"answers of {file.name}"
        elif kind == "gguf":
            done = "converted, but not answered: llama.cpp answers elsewhere"
            detail = done if converter else gguf.by_hand(declared.gguf_type)
            remedy = "Let llama.cpp answer every test item greedily, and name the answers in export.outputs.gguf."
            results.append(ExportResult(**shown, verdict="not_judged", detail=detail, remedy=remedy))
            continue
        else:
            outputs, engine = answers(experiment, folder, kind, test, work / kind)
        _write(outputs, out / f"{kind}.parquet")
        result = compare(
            kind, outputs, engine, test, base_answers, sft_answers, experiment.evaluation, declared.margin, root, work
        )
        if result.verdict == "accepted":
            names = tuple(path.relative_to(out).as_posix() for path in files_below(folder))
            detail = result.detail if names else f"{result.detail}; converted elsewhere, the file is not kept here"
            result = result.model_copy(update={"files": names, "detail": detail})
        else:
            shutil.rmtree(folder)
        log.info("export %s: %s: %s", kind, result.verdict, result.detail)
        results.append(result)
    content = [result.model_dump(mode="json") for result in results]
    (out / REPORT).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return ExportReport.finalize(out, results=tuple(results))


def supplied(experiment: Experiment, root: Path) -> dict[str, str]:
    """SHA-256 of the answers that were made elsewhere, by the field that names them, and of llama.cpp's converter.

    Raises:
        SpecificationError: a path leads out of the project or names no file.
    """
    named = experiment.export.outputs
    found = {k: hash_file(inside(path, root, f"export.outputs.{k}")) for k, path in sorted(named.items())}
    tool = gguf.converter() if "gguf" in experiment.export.kinds else None
    return found | ({"converter": hash_file(tool)} if tool else {})


def answers(
    experiment: Experiment, folder: Path, kind: str, test: InstructionDataset, work: Path
) -> tuple[dict[str, str], str]:
    """What the exported model answers to the test split by the experiment's engine, and the name of that engine.

    The decoding is the experiment's; the weights are unquantised, in the precision of the answers.
    """
    spec = experiment.model.model_copy(update={"quantization": "none"})
    decoding = experiment.generation.model_copy(update={"quantization": None})
    alone = experiment.model_copy(update={"model": spec, "generation": decoding})
    config = load_config(folder)
    model = ModelSnapshot(
        root=folder,
        source=f"export {kind}",
        revision="",
        architecture=(config.architectures or ["unknown"])[0],
        parameters=0,
        vocabulary=config.get_text_config().vocab_size,
    )
    rows = read_table(test.path(InstructionDataset.ROWS), asked(test.path(InstructionDataset.ROWS)))
    work.mkdir(parents=True, exist_ok=True)
    header = {
        "export": kind,
        "files": hash_value({p.name: hash_file(p) for p in files_below(folder)}),
        "items": test.digest,
    }
    with open_engine(alone, model) as engine:
        prompts = prompts_of(alone, engine.tokenizer, rows, engine.context)
        made, _ = resumed(engine, alone, prompts, None, work, header)
        name = f"{engine.name} {engine.versions().get(engine.name, '')}".strip()
    return {row["id"]: answer.text for row, answer in zip(rows, made, strict=True)}, name


def _gguf(
    converter: Path, experiment: Experiment, base: ModelSnapshot, adapter: AdapterSnapshot, work: Path, folder: Path
) -> None:
    """Convert the merged model: the export `merged` where it was accepted, otherwise one that is made for this."""
    accepted, own = folder.parent / "merged", work / "gguf"
    shutil.rmtree(own, ignore_errors=True)
    try:
        if not accepted.is_dir():
            own.mkdir(parents=True)
            merge(base, experiment.model, adapter.root / "adapter", "merged", own, experiment.prompt)
        gguf.convert(converter, accepted if accepted.is_dir() else own, folder, experiment.export.gguf_type)
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _write(outputs: dict[str, str], path: Path) -> None:
    table = pa.table({"id": list(outputs), "output": list(outputs.values())})
    pq.write_table(table, path, compression="zstd")
