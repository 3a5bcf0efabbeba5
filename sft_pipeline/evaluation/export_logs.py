"""An experiment's generations as logs of inspect and lm-eval, which their viewers show and their tools read."""

import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal, get_args

from sft_pipeline.artifacts import GateReport, Generations, InstructionDataset
from sft_pipeline.dataset.table import read_table
from sft_pipeline.errors import DataError
from sft_pipeline.evaluation.scoring.score import item
from sft_pipeline.provenance.hashing import canonical_json, hash_bytes

LogFormat = Literal["inspect", "lm-eval"]

SCORER = "success"
"""Name of the score: what the experiment's scorers said, or null where they could not."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer with what is known of it; `success` is None where it was not judged."""

    id: str
    type: str
    prompt: str
    instruction: str
    expected: str
    output: str
    tokens: int
    finish_reason: str
    success: bool | None
    reason: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """One model's answers to the test split.

    Attributes:
        model: the name under which the logs show it.
        generations: the artifact.
        samples: its answers.
        facts: where they come from: experiment, versions of the artifacts.
    """

    model: str
    generations: Generations
    samples: Sequence[Sample]
    facts: Mapping[str, str]

    @property
    def scored(self) -> list[float]:
        """1 or 0 of every judged answer."""
        return [float(s.success) for s in self.samples if s.success is not None]


def run_of(
    experiment: str, model: str, generations: Generations, items: InstructionDataset, report: GateReport | None
) -> Run:
    """The answers of stored generations, with the judgements of the stored gate report where there is one.

    Raises:
        DataError: the generations are not of these items, or the report is about other answers.
    """
    rows = {row["id"]: row for row in read_table(items.path(InstructionDataset.ROWS))}
    side = generations.model
    judged = {row["id"]: row for row in read_table(report.path("items.parquet"))} if report else {}
    samples = []
    for answer in read_table(generations.path(Generations.ROWS)):
        if (row := rows.get(answer["id"])) is None:
            raise DataError(
                f"{experiment}: an answer is to item {answer['id']}, which the test split lacks; materialize both"
            )
        verdict = judged.get(answer["id"], {})
        if verdict and verdict[f"{side}_output"] != answer["output"]:
            raise DataError(
                f"{experiment}: the gate report is about other answers than the stored ones; materialize the gate"
            )
        expected = item(row).reference.get("answer", row["response"])
        samples.append(
            Sample(
                id=answer["id"],
                type=row["type"],
                prompt=answer["prompt"],
                instruction=row["instruction"],
                expected=expected if isinstance(expected, str) else canonical_json(expected),
                output=answer["output"],
                tokens=answer["tokens"],
                finish_reason=answer["finish_reason"],
                success=verdict.get(f"{side}_success"),
                reason=verdict.get(f"{side}_reason") or "",
                labels=tuple(verdict.get(f"{side}_labels") or ()),
            )
        )
    facts = {"experiment": experiment, "generations": generations.version, "test_split": items.version}
    return Run(model, generations, samples, facts | ({"gate_report": report.version} if report else {}))


def write_logs(runs: Mapping[str, Run], format: LogFormat, when: str, out: Path) -> list[Path]:
    """Write a log of each run to `out`.

    Args:
        runs: base and fine-tuned model, by the name of their file or folder.
        format: of which harness.
        when: ISO time of the logs.
        out: an existing folder.
    """
    if format not in get_args(LogFormat):
        raise DataError(f"logs are written as {' or '.join(get_args(LogFormat))}, not as {format!r}")
    writers: dict[LogFormat, Callable[[str, Run, str, Path], list[Path]]] = {"inspect": _inspect, "lm-eval": _lm_eval}
    return [path for name, run in runs.items() for path in writers[format](name, run, when, out)]


# ---------------------------------------------------------------------------------------------------------- inspect


def _inspect(name: str, run: Run, when: str, out: Path) -> list[Path]:
    """`NAME.eval`: a header, a file for each sample, and the summaries that the viewer lists."""
    samples = [_inspect_sample(run, sample) for sample in run.samples]
    scorer = {
        "name": SCORER,
        "options": {},
        "metadata": {},
        "metrics": [{"name": f"inspect_ai/{m}", "options": {}} for m in ("accuracy", "stderr")],
    }
    spec = {
        "eval_id": _id(run, "eval"),
        "run_id": _id(run, "run"),
        "created": when,
        "task": run.facts["experiment"],
        "task_id": _id(run, "task"),
        "task_version": 0,
        "task_attribs": {},
        "task_args": {},
        "dataset": {
            "name": run.facts["experiment"],
            "samples": len(samples),
            "sample_ids": [s["id"] for s in samples],
            "shuffled": False,
        },
        "model": run.model,
        "model_args": dict(run.generations.conditions),
        "model_generate_config": {},
        "config": {"epochs": 1, "epochs_reducer": ["mean"]},
        "packages": {},
        "metadata": dict(run.facts),
        "scorers": [scorer],
    }
    start = {"version": 2, "eval": spec, "plan": {"name": "plan", "steps": [], "config": {}}}
    header = start | {
        "status": "success",
        "results": {
            "total_samples": len(samples),
            "completed_samples": len(samples),
            "scores": [
                {
                    "name": SCORER,
                    "scorer": SCORER,
                    "scored_samples": len(run.scored),
                    "unscored_samples": len(samples) - len(run.scored),
                    "params": {},
                    "metrics": {
                        "accuracy": {"name": "accuracy", "value": fmean(run.scored), "params": {}},
                        "stderr": {"name": "stderr", "value": _stderr(run.scored), "params": {}},
                    },
                }
            ]
            if run.scored
            else [],
        },
        "stats": {"started_at": when, "completed_at": when, "model_usage": _usage(run, run.samples)},
    }
    listed = ("id", "epoch", "uuid", "input", "target", "scores", "metadata", "model_usage")
    summaries = [{k: s[k] for k in listed} | {"completed": True, "message_count": len(s["messages"])} for s in samples]
    members: dict[str, Any] = {"_journal/start.json": start}
    members |= {f"samples/{s['id']}_epoch_{s['epoch']}.json": s for s in samples}
    members |= {"_journal/summaries/1.json": summaries, "summaries.json": summaries, "header.json": header}
    path = out / f"{name}.eval"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, value in members.items():
            archive.writestr(zipfile.ZipInfo(member), json.dumps(value), zipfile.ZIP_DEFLATED)
    return [path]


def _inspect_sample(run: Run, sample: Sample) -> dict[str, Any]:
    message = {"role": "assistant", "content": sample.output, "source": "generate", "model": run.model}
    value = {True: "C", False: "I", None: float("nan")}[sample.success]  # NaN: inspect's mark of an unscored sample
    score = {
        "value": value,
        "answer": sample.output,
        "explanation": sample.reason,
        "metadata": {"labels": sample.labels},
    }
    usage = _usage(run, [sample])
    stop = "max_tokens" if sample.finish_reason == "length" else "stop"
    return {
        "id": sample.id,
        "epoch": 1,
        "uuid": _id(run, sample.id),
        "input": sample.prompt,
        "target": sample.expected,
        "messages": [{"role": "user", "content": sample.prompt, "source": "input"}, message],
        "output": {
            "model": run.model,
            "choices": [{"message": message, "stop_reason": stop}],
            "completion": sample.output,
            "usage": usage[run.model],
        },
        "scores": {SCORER: score} if run.scored else {},
        "metadata": {"type": sample.type, "instruction": sample.instruction},
        "store": {},
        "events": [],
        "model_usage": usage,
        "attachments": {},
    }


def _usage(run: Run, samples: Sequence[Sample]) -> dict[str, dict[str, int]]:
    """Tokens by model; those of the prompts are not stored."""
    tokens = sum(s.tokens for s in samples)
    return {run.model: {"input_tokens": 0, "output_tokens": tokens, "total_tokens": tokens}}


def _id(run: Run, what: str) -> str:
    return hash_bytes(canonical_json([what, run.model, dict(run.facts)]).encode())[:22]


def _stderr(values: Sequence[float]) -> float:
    return stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0


# ---------------------------------------------------------------------------------------------------------- lm-eval


def _lm_eval(name: str, run: Run, when: str, out: Path) -> list[Path]:
    """`NAME/results_TIME.json` and `NAME/samples_TYPE_TIME.jsonl`; every type of item is a task."""
    folder, time = out / name, when.partition("+")[0].replace(":", "-")
    folder.mkdir()
    tasks: dict[str, list[Sample]] = {}
    for sample in run.samples:
        tasks.setdefault(sample.type.replace("/", "-"), []).append(sample)
    paths, results = [], {}
    for task, samples in sorted(tasks.items()):
        paths.append(folder / f"samples_{task}_{time}.jsonl")
        lines = [json.dumps(_lm_sample(k, s, run), ensure_ascii=False) for k, s in enumerate(samples)]
        paths[-1].write_text("\n".join(lines) + "\n", "utf-8")
        scored = [float(s.success) for s in samples if s.success is not None]
        mean = {f"{SCORER},none": fmean(scored), f"{SCORER}_stderr,none": _stderr(scored)} if scored else {}
        results[task] = {"alias": task, **mean}
    metrics = [{"metric": SCORER, "aggregation": "mean", "higher_is_better": True}]
    document = {
        "results": results,
        "group_subtasks": {task: [] for task in tasks},
        "configs": {
            t: {"task": t, "output_type": "generate_until", "num_fewshot": 0, "metric_list": metrics} for t in tasks
        },
        "versions": dict.fromkeys(tasks, 1),
        "n-shot": dict.fromkeys(tasks, 0),
        "higher_is_better": {task: {SCORER: True} for task in tasks},
        "n-samples": {task: {"original": len(s), "effective": len(s)} for task, s in tasks.items()},
        "config": {
            "model": "sft-pipeline",
            "model_args": dict(run.generations.conditions),
            "metadata": dict(run.facts),
        },
        "date": when,
        "model_source": "sft-pipeline",
        "model_name": run.model,
        "model_name_sanitized": name,
    }
    paths.append(folder / f"results_{time}.json")
    paths[-1].write_text(json.dumps(document, indent=2, ensure_ascii=False), "utf-8")
    return paths


def _lm_sample(k: int, sample: Sample, run: Run) -> dict[str, Any]:
    """As lm-eval's evaluator logs it, with its hashes; an answer that was not judged has no score."""
    doc = {"id": sample.id, "question": sample.instruction, "answer": sample.expected}
    hashed = {"doc": json.dumps(doc, indent=2, ensure_ascii=False), "prompt": sample.prompt, "target": sample.expected}
    return {
        "doc_id": k,
        "doc": doc,
        "target": sample.expected,
        "arguments": {"gen_args_0": {"arg_0": sample.prompt, "arg_1": _generation(run)}},
        "resps": [[sample.output]],
        "filtered_resps": [sample.output],
        "filter": "none",
        "metrics": [SCORER],
        **{f"{name}_hash": hash_bytes(text.encode()) for name, text in hashed.items()},
        **({} if sample.success is None else {SCORER: float(sample.success)}),
    }


def _generation(run: Run) -> dict[str, Any]:
    """Settings of the generation, under lm-eval's names."""
    decoding = json.loads(run.generations.conditions.get("decoding", "{}"))
    sampling = decoding.get("sampling")
    settings = {
        "until": decoding.get("stop") or [],
        "max_gen_toks": decoding.get("max_new_tokens"),
        "do_sample": bool(sampling),
    }
    return settings | (sampling or {"temperature": 0.0})
