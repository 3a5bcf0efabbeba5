"""The checkpoint series: what the base and every kept checkpoint answer to the same items, on one loaded engine.

On the dev split unless declared otherwise: a checkpoint that was chosen on the test split is judged by the gate on the
items that chose it. What a live series (live_series.py) has answered during the training is not asked again.
"""

import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from sft_pipeline.artifacts import (
    AdapterSnapshot,
    GroupResult,
    InstructionDataset,
    ModelSnapshot,
    SeriesComparison,
    SeriesPoint,
    SeriesReport,
)
from sft_pipeline.dataset.table import read_table
from sft_pipeline.evaluation.inputs.repeated_questions import clusters_of_rows
from sft_pipeline.evaluation.scoring.score import Judged, score_items
from sft_pipeline.evaluation.statistics.clusters import clustered_p, with_clusters
from sft_pipeline.evaluation.statistics.paired import holm, paired, wilson
from sft_pipeline.experiment import Experiment, Gate
from sft_pipeline.generation.answers import FILE, conditions, resumed
from sft_pipeline.generation.engines import Engine, open_engine
from sft_pipeline.generation.engines.engine import adapter_content
from sft_pipeline.model.completion import Completion
from sft_pipeline.model.prompts import prompts as prompts_of

ON_TEST = (
    "The series is on the test split. Whoever chooses a checkpoint by it gives the gate items that took part in the choice: "
    "its verdict on that checkpoint is then too good. Declare evaluation.series.split: dev to choose."
)
PAIRS_ONLY = (
    "{} of {} answers cannot be judged one by one (types judged in pairs, or without a judgement) and are left out."
)
SPLIT_OFF = (
    "The step with the most successes among several is measured too high: only items without a part in the choice tell."
)


def series(
    experiment: Experiment,
    base: ModelSnapshot,
    adapter: AdapterSnapshot,
    items: InstructionDataset,
    root: Path,
    work: Path,
    out: Path,
) -> SeriesReport:
    """Measure base, kept checkpoints and final adapter; writes the answers, `series.json`, the table and the picture.

    Args:
        experiment: gives prompt, decoding, scorers, and the rule of the best checkpoint.
        base: the base model, which is step 0.
        adapter: the final adapter with its kept checkpoints.
        items: the split that the experiment declares.
        root: the project's root, where relative files of the scorers' options start.
        work: the step's own folder; a series that was killed resumes where it stopped.
        out: empty folder.

    Raises:
        ModelError: an item leaves no room for an answer, or the engine failed.
        SpecificationError: a type of item has no scorer, or one whose options cannot be used.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from sft_pipeline.report.training.checkpoint_table import markdown
    from sft_pipeline.report.training.plots import plot

    folders: dict[int, Path | None] = {0: None}
    folders |= {step: adapter.root / "checkpoints" / str(step) for step in adapter.checkpoints}
    folders[adapter.step] = adapter.root / "adapter"
    rows = read_table(items.path(InstructionDataset.ROWS))
    table: list[dict[str, Any]] = []
    points: list[SeriesPoint] = []
    successes: dict[int, dict[str, bool]] = {}
    with open_engine(experiment, base) as engine:
        common = conditions(experiment, base, items, engine)
        for step, folder in sorted(folders.items()):
            own = work / f"step-{step}"
            own.mkdir(exist_ok=True)
            if not (own / FILE).exists() and (live := adapter.root / AdapterSnapshot.SERIES / own.name / FILE).exists():
                shutil.copyfile(live, own / FILE)  # the evaluator beside the training has asked already
            judged, answers = measured(engine, experiment, rows, folder, own, common, root)
            points.append(point(step, judged, answers))
            successes[step] = {j.id: bool(j.success) for j in judged if j.success is not None}
            table += [_line(step, j, a) for j, a in zip(judged, answers, strict=True)]
    pq.write_table(pa.Table.from_pylist(table, _schema(pa)), out / "answers.parquet", compression="zstd")
    report = SeriesReport(root=out, **described(experiment, points, successes, clusters_of_rows(rows)))
    (out / "series.json").write_text(
        json.dumps({"best": report.best.step, **report.model_dump(mode="json", include=set(_FIELDS))}, indent=2) + "\n"
    )
    (out / "series.md").write_text(markdown(report), "utf-8")
    history = json.loads(adapter.path("log_history.json").read_text()) if "log_history.json" in adapter.files else []
    (out / "series.png").write_bytes(plot(report, history))
    return SeriesReport.finalize(out, **{name: getattr(report, name) for name in _FIELDS})


def measured(
    engine: Engine,
    experiment: Experiment,
    rows: Sequence[Mapping[str, Any]],
    adapter: Path | None,
    own: Path,
    common: Mapping[str, str],
    root: Path,
) -> tuple[list[Judged], list[Completion]]:
    """What one checkpoint answers to all rows, judged; answers that were finished under the same conditions lie in `own`.

    Args:
        engine: the loaded base.
        experiment: gives prompt, decoding and scorers.
        rows: the items.
        adapter: folder of the checkpoint's adapter; None is the base.
        own: folder of this checkpoint's answers.
        common: conditions of the answers.
        root: the project's root.
    """
    prompts = prompts_of(experiment, engine.tokenizer, rows, engine.context)
    header = {"adapter": adapter and adapter_content(adapter), "conditions": common}
    answers, _ = resumed(engine, experiment, prompts, adapter, own, header)
    outputs = {row["id"]: answer.text for row, answer in zip(rows, answers, strict=True)}
    return score_items(rows, outputs, experiment.evaluation, root), answers


_FIELDS = ("split", "rule", "points", "comparisons", "notes")


def described(
    experiment: Experiment,
    points: Sequence[SeriesPoint],
    successes: Mapping[int, Mapping[str, bool]],
    clusters: Mapping[str, str | None],
) -> dict[str, Any]:
    """The fields of the report on these points.

    Args:
        experiment: declares split, rule and test.
        points: one for each checkpoint, the base first.
        successes: by step, whether each judged item succeeded, by its id.
        clusters: cluster of each item of the split, by its id.
    """
    declared, asked = experiment.evaluation.series, len(clusters)
    notes = [ON_TEST] if declared.split == "test" else [SPLIT_OFF]
    if (least := min(p.n for p in points)) < asked:
        notes.append(PAIRS_ONLY.format(f"{asked - least:,}", f"{asked:,}"))
    fields = {"split": declared.split, "rule": declared.best, "points": tuple(points), "notes": tuple(notes)}
    best = SeriesReport(root=Path(), **fields).best.step
    return fields | {"comparisons": tuple(compared(successes, best, clusters, experiment.evaluation.gate))}


def compared(
    successes: Mapping[int, Mapping[str, bool]], best: int, clusters: Mapping[str, str | None], gate: Gate
) -> list[SeriesComparison]:
    """Every later checkpoint against the first, and every other one against the best, paired on the items judged at both.

    `p_adjusted` is Holm's over all of them, of the gate's test.
    """
    first, *later = sorted(successes)
    pairs = [(first, step) for step in later]
    pairs += [(min(step, best), max(step, best)) for step in later if step != best]
    found: dict[tuple[int, int], GroupResult] = {}
    for early, late in pairs:
        if not (common := [item for item in successes[early] if item in successes[late]]):
            continue
        name = f"step {late:,} against {f'step {early:,}' if early else 'the base'}"
        before, after = ([successes[step][item] for item in common] for step in (early, late))
        found[early, late] = with_clusters(
            paired(name, before, after), before, after, [clusters[item] for item in common], gate
        )
    adjusted = holm([clustered_p(result, gate.test) for result in found.values()])
    return [
        SeriesComparison(steps=steps, result=result.model_copy(update={"p_adjusted": p}))
        for (steps, result), p in zip(found.items(), adjusted, strict=True)
    ]


def point(step: int, judged: Sequence[Judged], answers: Sequence[Completion]) -> SeriesPoint:
    """What one checkpoint did; answers that could not be judged count in lengths and truncation only."""
    known = [j for j in judged if j.success is not None]
    successes = sum(bool(j.success) for j in known)
    low, high = wilson(successes, len(known))
    of_type: Mapping[str, int] = Counter(j.type for j in known)
    right = Counter(j.type for j in known if j.success)
    return SeriesPoint(
        step=step,
        n=len(known),
        successes=successes,
        low=low,
        high=high,
        labels=dict(sorted(Counter(label for j in judged for label in j.labels).items())),
        types={name: (right[name], n) for name, n in sorted(of_type.items())},
        mean_tokens=sum(a.tokens for a in answers) / len(answers),
        truncated=sum(a.finish_reason == "length" for a in answers),
    )


def _line(step: int, judged: Judged, answer: Completion) -> dict[str, Any]:
    return {
        "step": step,
        "id": judged.id,
        "type": judged.type,
        "output": answer.text,
        "success": judged.success,
        "reason": judged.reason,
        "labels": list(judged.labels),
        "tokens": answer.tokens,
        "finish_reason": answer.finish_reason,
    }


def _schema(pa: ModuleType) -> Any:
    texts = [pa.field(name, pa.string()) for name in ("id", "type", "output")]
    return pa.schema(
        [
            pa.field("step", pa.int64()),
            *texts,
            pa.field("success", pa.bool_()),  # null: it could not be judged
            pa.field("reason", pa.string()),
            pa.field("labels", pa.list_(pa.string())),
            pa.field("tokens", pa.int64()),
            pa.field("finish_reason", pa.string()),
        ]
    )
