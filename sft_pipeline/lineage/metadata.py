"""Metadata of a materialization: the figures that a reader of the Dagster UI wants, each value small.

Large values slow the UI down: lists are cut, texts are shortened, files are linked by path, pictures are embedded only
while they are of modest size.
"""

import base64
import html
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from sft_pipeline import artifacts as a

PICTURE = 120_000
"""Bytes up to which a picture is embedded."""

_MARKDOWN = re.compile(r"[\\|\[\]!*_~$]")  # a link or a picture from a data row must stay text
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")

PREVIEW = 5
"""Rows of a preview."""


def describe(artifact: a.Artifact, show: Callable[[Any], Mapping[str, Any]]) -> dict[str, Any]:
    """Metadata of any artifact: what `show` takes from it first, then digest, size and timings."""
    return {**show(artifact), "digest": artifact.digest, "bytes": artifact.bytes, **artifact.measurements}


def table(rows: Sequence[Mapping[str, Any]], limit: int = 40, longest: int = 160) -> dg.MetadataValue:
    """A table of the UI: at most `limit` rows under the names of the first, texts shortened to `longest` characters."""
    if not rows:
        return dg.MetadataValue.text("nothing")
    names = list(rows[0])
    records = [{name: _cell(row[name], longest) for name in names} for row in rows[:limit]]
    if len(rows) > limit:
        records.append(dict.fromkeys(names) | {names[0]: f"… and {len(rows) - limit} more"})
    return dg.MetadataValue.table([dg.TableRecord(record) for record in records])


def picture(path: Path) -> dg.MetadataValue:
    """The PNG at `path`, embedded while it is small enough."""
    data = path.read_bytes()
    if len(data) > PICTURE:
        # Where it lies now is not where the store will have it.
        return dg.MetadataValue.text(f"{path.name} in the folder of the artifact")
    return dg.MetadataValue.md(f"![{path.stem}](data:image/png;base64,{base64.b64encode(data).decode()})")


def _cell(value: Any, longest: int) -> str | int | float | bool | None:
    """A value as the UI shows it, which takes texts as they are: four digits, and what JSON does not know as its name."""
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else str(value)
    if value is None or isinstance(value, int):
        return value
    return _CONTROL.sub("\ufffd", _short(str(value), longest))


def notes(texts: Sequence[str], longest: int = 400) -> dg.MetadataValue:
    """Sentences as a list of Markdown, each escaped and shortened."""

    def line(text: str) -> str:
        plain = _MARKDOWN.sub(r"\\\g<0>", html.escape(_short(text, longest).replace("\r", " ")).replace("`", "'"))
        return _CONTROL.sub("\ufffd", plain.replace("\n", "<br>"))

    return dg.MetadataValue.md("\n".join(f"- {line(text)}" for text in texts) or "nothing")


def _short(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _rate(rate: float, interval: tuple[float, float], sign: str = "") -> str:
    return f"{100 * rate:{sign}.1f} ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})"


def dataset(data: a.InstructionDataset) -> dict[str, Any]:
    """Of a `InstructionDataset`: rows, what was rejected, and the leakage proof."""
    shown: dict[str, Any] = {
        **_columns(data.path(data.ROWS)),
        "types": table([{"type": t, "rows": n} for t, n in sorted(data.types.items())]),
        "preview": table(_head(data.path(data.ROWS), ["type", "instruction", "response"])),
    }
    if data.source:
        shown |= {"source": data.source, "schema": data.source_schema}
    if data.rejected or data.stage in ("raw", "clean"):
        shown["rejected"] = table([{"reason": r, "rows": n} for r, n in sorted(data.rejected.items())])
    if data.REJECTED in data.files:
        columns = ["filter", "reason", "matched", "source_file", "source_row"]
        shown["rejected, samples"] = table(_head(data.path(data.REJECTED), columns))
    if data.statistics:
        shown["statistics"] = table([{"statistic": s, "value": v} for s, v in data.statistics.items()])
    if data.thresholds:
        shown["thresholds"] = table(thresholds(data))
    if data.MANIFEST in data.files:
        shown |= _quality(a.QualityManifest.model_validate_json(data.path(data.MANIFEST).read_bytes()))
    if data.proof:
        shown |= leakage(data.proof)
    if data.notes:
        shown["notes"] = notes(data.notes)
    return shown | _pictures(data)


def _head(path: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """The first rows of a table of rows."""
    from sft_pipeline.dataset.table import batches

    return next(batches(path, columns), [])[:PREVIEW]


def _columns(path: Path) -> dict[str, Any]:
    """Number of rows and schema of a Parquet file, as Dagster knows them of tables."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    columns = [dg.TableColumn(column.name, str(column.type)) for column in file.schema_arrow]
    return {"dagster/row_count": file.metadata.num_rows, "dagster/column_schema": dg.TableSchema(columns)}


def _quality(manifest: a.QualityManifest) -> dict[str, Any]:
    return {
        "filters": table([f.model_dump() for f in manifest.filters]),
        "duplicates": table([c.model_dump() for c in manifest.duplicates]),
        "why rows were dropped": table(
            [
                s.model_dump(include={"filter", "matched", "reason", "source_file", "source_row"})
                for s in manifest.samples
            ]
        ),
    } | ({"acceptance": table([manifest.acceptance])} if manifest.acceptance else {})


def thresholds(data: a.InstructionDataset) -> list[dict[str, Any]]:
    """Rows of the table of thresholds."""
    return [
        {
            "threshold": t.name,
            "value": t.value,
            "limit": f"{t.direction} {t.limit:g}",
            "passed": "yes" if t.passed else "NO",
        }
        for t in data.thresholds
    ]


def leakage(proof: a.LeakageProof) -> dict[str, Any]:
    """The leakage proof as metadata."""
    figures = proof.model_dump(exclude={"nearest", "leaks", "against", "not_compared"})

    def pairs(found: Sequence[a.LeakedPair]) -> dg.MetadataValue:
        shown = {"tier", "similarity", "matched", "train_text", "test_text"}
        return table([pair.model_dump(include=shown) for pair in found], limit=3 * PREVIEW)

    return {
        f"leakage {proof.against}": table([{"figure": k, "value": v} for k, v in figures.items()]),
        "not compared": notes(proof.not_compared),
        "nearest pairs": pairs(proof.nearest),
    } | ({"leaks": pairs(proof.leaks)} if proof.leaks else {})


def model(model: a.ModelSnapshot) -> dict[str, Any]:
    """Of a `ModelSnapshot`: where the base comes from and what it is."""
    return {
        "source": model.source,
        "revision": model.revision,
        "architecture": model.architecture,
        "parameters": model.parameters,
        "vocabulary": model.vocabulary,
        "files": table([{"file": r.path, "bytes": r.bytes, "sha256": r.sha256} for r in model.files.values()]),
    }


def guard(report: a.GuardReport) -> dict[str, Any]:
    """Of a `GuardReport`: checks and sentinels."""
    return {
        "passed": report.passed,
        "checks": table([{"check": name, "problem": problem or "none"} for name, problem in report.checks.items()]),
        "sentinels": table(
            [
                {
                    "sentinel": s.name,
                    "mode": s.mode,
                    "should": "fail" if s.expect == "fails" else "work",
                    "did": "work" if s.succeeded else "fail",
                    "verdict": "ok" if s.passed else "STOP" if s.blocking else "note",
                    "prompt": s.prompt,
                    "answer": s.answer,
                }
                for s in report.sentinels
            ]
        ),
        "loader": table([{"property": k, "value": v} for k, v in report.loader.items()]),
    }


def findings(found: Sequence[a.Finding]) -> dg.MetadataValue:
    """A table of findings, the blocking ones first."""
    order = {"blocking": 0, "warning": 1, "info": 2}
    return table([f.model_dump() for f in sorted(found, key=lambda f: order[f.severity])])


def plan(plan: a.TrainingPlan) -> dict[str, Any]:
    """Of a `TrainingPlan`: schedule, memory, power and findings."""
    shown = {
        "steps": plan.steps,
        "coverage": plan.coverage,
        "fully masked rows": plan.masked_rows,
        "effective batch": plan.effective_batch,
        "learning rate": max(plan.learning_rates),
        "warmup steps": plan.warmup_steps,
        "tokens per epoch": plan.tokens_per_epoch,
        "padding share": plan.padding_share,
        "trainable parameters": plan.trainable_parameters,
        "memory": table([{"part": k, "MB": round(v / 1e6, 1)} for k, v in plan.memory_bytes.items()]),
        "power": table([{"figure": k, "value": v} for k, v in plan.power.items()]),
        "findings": findings(plan.findings),
    }
    if plan.base_success is not None:
        shown["base success on dev"] = plan.base_success
    return shown | _pictures(plan)


def adapter(adapter: a.AdapterSnapshot) -> dict[str, Any]:
    """Of a `AdapterSnapshot`: steps, losses and checkpoints."""
    shown = {
        "steps": adapter.steps,
        "epochs": adapter.epochs,
        "trainable parameters": adapter.trainable_parameters,
        "first loss": adapter.loss_first,
        "last loss": adapter.loss_last,
        "adapter of step": adapter.step,
        "checkpoints": ", ".join(map(str, adapter.checkpoints)),
        "fully masked rows": adapter.masked_rows,
    }
    if adapter.dev_loss is not None:
        shown["dev loss"] = adapter.dev_loss
    return shown | _hyperparameters(adapter) | _pictures(adapter)


def _hyperparameters(adapter: a.AdapterSnapshot) -> dict[str, float]:
    """The declared figures of the training, as numbers that the UI plots over the materializations."""
    declared = json.loads(adapter.path("training_manifest.json").read_bytes())["hyperparameters"]
    passes = declared["gradient_accumulation"]  # of a batch that grows the largest counts, as in the plan
    passes = max(passes.values()) if isinstance(passes, dict) else passes
    rows = declared["batch_size"] * passes * declared["processes"]
    lora = {f"LoRA {name}": declared["lora"][name] for name in ("r", "alpha", "dropout")}
    return {"learning rate": declared["learning_rate"], "effective batch": rows, "seed": declared["seed"], **lora}


def training(report: a.TrainingReport) -> dict[str, Any]:
    """Of a `TrainingReport`: the diagnosis."""
    return {
        "healthy": report.healthy,
        **{name: value for name, value in report.metrics.items() if math.isfinite(value)},
        "findings": findings(report.findings),
        **_pictures(report),
    }


def search(report: a.SearchReport) -> dict[str, Any]:
    """Of a `SearchReport`: the verdict, the confirmed trials, all trials, and Optuna's plots."""
    from sft_pipeline.report.search import text

    if report.verdict is None:
        return {"search": "none declared"}
    shown: dict[str, Any] = {
        "search": text.headline(report),
        "optimism": text.optimism(report),
        "confirmation": table(
            [
                {
                    "trial": c.trial,
                    "searched": text.figure(report, c.searched),
                    "confirmed": text.figure(report, c.figure),
                    "default": text.figure(report, report.default),
                    "gain": text.difference(report, c.gain),
                    "p Holm": text.p(c.p_adjusted),
                    "parameters": text.parameters(c),
                }
                for c in report.confirmations
            ]
        ),
        "trials": table(
            [
                {
                    "trial": t.number,
                    "outcome": t.state,
                    "figure": text.figure(report, t.figure),
                    "parameters": text.parameters(t),
                    "reason": t.reason,
                }
                for t in report.trials
            ],
            limit=100,
        ),
    }
    if report.notes:
        shown["notes"] = notes(report.notes)
    return shown | _pictures(report)


def generations(made: a.Generations) -> dict[str, Any]:
    """Of a `Generations`: answers and the conditions under which they were made."""
    shown = {
        **_columns(made.path(made.ROWS)),
        "truncated share": made.truncated_share,
        "mean tokens": made.mean_tokens,
        "conditions": table([{"condition": k, "value": v} for k, v in made.conditions.items()]),
        "preview": table(_head(made.path(made.ROWS), ["prompt", "output"])),
    }
    if made.flip_rate is not None:
        shown["flip rate"] = made.flip_rate
    if made.mean_logprob is not None:
        shown["mean log-probability"] = made.mean_logprob
    return shown


def comparators(made: a.ComparatorGenerations) -> dict[str, Any]:
    """Of a `ComparatorGenerations`: each comparator with its costs and what was left out."""
    if not made.comparators:
        return {"comparators": "none declared"}
    rows = [
        {
            "comparator": name,
            "what": answers.label,
            "answers": answers.rows,
            "not asked": len(answers.unasked),
            "prompt tokens": answers.prompt_tokens,
            "answer tokens": answers.mean_tokens,
            "notes": "; ".join(answers.notes),
        }
        for name, answers in made.comparators.items()
    ]
    return {"comparators": table(rows, longest=400), "prompt tokens of base and fine-tuned": made.prompt_tokens}


def series(report: a.SeriesReport) -> dict[str, Any]:
    """Of a `SeriesReport`: the series over the checkpoints and the best of them."""
    from sft_pipeline.report.training.checkpoint_table import best, comparisons, rows

    first, last = report.points[0], report.points[-1]
    shown = {
        "best step": report.best.step,
        "best rate": report.best.successes / (report.best.n or 1),
        "base rate": first.successes / (first.n or 1),
        "last rate": last.successes / (last.n or 1),
        "choice": best(report),
        "split": report.split,
        "series": table(rows(report)),
        **({"pairs": table(comparisons(report))} if report.comparisons else {}),
    }
    if report.notes:
        shown["notes"] = notes(report.notes)
    return shown | _pictures(report)


def results(groups: Sequence[a.GroupResult]) -> dg.MetadataValue:
    """The table of paired results."""
    return table(
        [
            {
                "group": g.name,
                "n": g.n,
                "base %": _rate(g.base_rate, g.base_interval),
                "SFT %": _rate(g.sft_rate, g.sft_interval),
                "lift": _rate(g.lift, g.lift_interval, "+"),
                "lost / won": f"{g.lost} / {g.won}",
                "p exact": g.p_exact,
                "adjusted p": "" if g.p_adjusted is None else g.p_adjusted,
                "Cohen's h": g.cohens_h,
            }
            for g in groups
        ]
    )


def gate(report: a.GateReport) -> dict[str, Any]:
    """Of a `GateReport`: verdict, reasons and results."""
    from sft_pipeline.report.gate.text import against_tuned, cost, headline, ordered

    low, high = report.overall.lift_interval
    shown = {
        "verdict": report.verdict,
        "p": report.p,
        "base rate": report.overall.base_rate,
        "SFT rate": report.overall.sft_rate,
        "lift": report.overall.lift,
        "lift interval": f"{100 * low:+.1f} to {100 * high:+.1f} points",
        "reasons": table(
            [{"criterion": r.criterion, "outcome": r.outcome, "detail": r.detail} for r in ordered(report)], longest=400
        ),
        "results": results([report.overall, *report.types]),
        "protected types": table(
            [
                {
                    "guarantee": p.name,
                    "verdict": p.verdict,
                    "margin": p.margin,
                    "lift": _rate(p.result.lift, p.result.lift_interval, "+"),
                    "n": p.result.n,
                    "CI overlap rule": "holds" if p.overlap_rule else "violated",
                }
                for p in report.protected
            ]
        ),
    }
    if report.comparators:
        shown["headline"] = headline(report)
        shown["prompted base"] = table(
            [
                {
                    "comparator": c.name,
                    "what": c.label,
                    "%": _rate(c.successes / (c.n or 1), c.interval),
                    "fine-tuned minus it": _rate(
                        (r := against_tuned(report, c.name)).result.lift, r.result.lift_interval, "+"
                    ),
                    "p Holm": r.p_adjusted,
                    "finding": c.finding,
                    "prompt + completion tokens": cost(report, c.name),
                }
                for c in report.comparators
            ]
        )
    if report.missing:
        shown["not judged"] = report.missing
    if report.sensitivity:
        rows = [
            {"treatment": s.name, "lift": _rate(s.lift, s.lift_interval, "+"), "n": s.n, "p": s.p}
            for s in report.sensitivity
        ]
        shown["sensitivity"] = table(rows)
    if report.agreement:
        shown["agreement with human labels"] = table([report.agreement.model_dump()])
    if report.labels:
        names = sorted({label for found in report.labels.values() for label in found})
        counts = ({m: report.labels.get(m, {}).get(label, 0) for m in ("base", "sft")} for label in names)
        shown["labels"] = table([{"label": label, **count} for label, count in zip(names, counts, strict=True)])
    # Two are enough to see what happened; the page has all of them.
    return shown | {name: picture(report.path(f"{name}.png")) for name in ("rates", "differences")}


def review_request(request: a.ReviewRequest) -> dict[str, Any]:
    """Of a `ReviewRequest`: what is asked of whom."""
    if not request.declared:
        return {"review": "none declared"}
    return {"review": request.request, "items": request.items, "raters": table([dict(request.tasks)])}


def human_review(review: a.HumanReview) -> dict[str, Any]:
    """Of a `HumanReview`: preference, agreement and raters, as its text says it."""
    if "review.txt" not in review.files:
        return {"review": "none declared"}
    text = review.path("review.txt").read_text("utf-8")
    shown = {"labels": review.labels, "to settle": review.unsettled, "summary": dg.MetadataValue.text(text)}
    return shown | (
        {"p": review.preference.p, "net preference": review.preference.net.value} if review.preference else {}
    )


def exports(report: a.ExportReport) -> dict[str, Any]:
    """Of an `ExportReport`: each export against the gated adapter."""
    rows = [
        {
            "export": r.kind,
            "verdict": r.verdict,
            "lost / won": f"{len(r.lost)} / {len(r.won)}",
            "texts changed": "" if r.changed_share is None else f"{r.changed_share:.1%}",
            "detail": r.detail,
        }
        for r in report.results
    ]
    return {"exports": table(rows, longest=400) if rows else "none declared"}


def release(made: a.ReleaseSnapshot) -> dict[str, Any]:
    """Of a `ReleaseSnapshot`: its verdict, its files, and the card."""
    card = made.path("README.md").read_text("utf-8").partition("\n---\n")[2]
    return {"verdict": made.verdict, "files": len(made.files), "card": dg.MetadataValue.md(card)}


def capabilities(report: a.CapabilityReport) -> dict[str, Any]:
    """Of a `CapabilityReport`: verdict, the table of benchmarks, perplexity, what blocks a release."""
    from sft_pipeline.report.capabilities import text

    shown: dict[str, Any] = {"verdict": report.verdict or "not compared"}
    if report.results:
        shown["benchmarks"] = table(
            [
                {
                    "metric": r.name,
                    "n": f"{r.n} of {r.available}",
                    f"{text.reference(report)} %": text.score(r.base),
                    "SFT %": text.score(r.sft),
                    "difference": text.difference(r),
                    "outcome": text.outcome(r),
                }
                for r in report.results
            ]
        )
        shown |= {f"{r.name}, difference": r.difference for r in report.results if r.difference is not None}
    if report.perplexity:
        shown["perplexity"] = text.perplexity(report)
    for name, texts in (("problems", report.problems), ("notes", report.notes)):
        if texts:
            shown[name] = notes(texts)
    return shown | _pictures(report)


def _pictures(artifact: a.Artifact) -> dict[str, Any]:
    return {name.removesuffix(".png"): picture(artifact.path(name)) for name in artifact.files if name.endswith(".png")}
