"""The stages of an experiment as sections of its page, from the stored artifacts alone: figures, no row and no answer."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from sft_pipeline import artifacts as a
from sft_pipeline.experiment import Experiment
from sft_pipeline.report.capabilities import text as capability_text
from sft_pipeline.report.experiment import expectations
from sft_pipeline.report.experiment.cost import Cost, lines
from sft_pipeline.report.experiment.section import Bars, Figure, Picture, Section, Table, Word
from sft_pipeline.report.gate import text as gate_text
from sft_pipeline.report.gate.text import points
from sft_pipeline.report.plan import text as plan_text
from sft_pipeline.report.review.text import preferred
from sft_pipeline.report.search import text as search_text
from sft_pipeline.report.training import checkpoint_table

A = TypeVar("A", bound=a.Artifact)


def sections(found: Mapping[str, a.Artifact], experiment: Experiment | None, spent: Cost) -> list[Section]:
    """The stages in the order in which data flows, those that were not made too.

    Args:
        found: the artifacts, by asset.
        experiment: the specification; None where it cannot be read.
        spent: what they cost.
    """
    return [
        _data(found),
        _base(found),
        _plan(found),
        *_search(found),
        _training(found),
        _series(found),
        _answers(found),
        _gate(found),
        _capabilities(found),
        _review(found),
        _release(found, experiment),
        *_expectations(found, experiment),
        _cost(spent),
    ]


def summary(made: Sequence[Section], spent: Cost) -> list[Figure]:
    """The figures of an experiment that everybody asks for first, as far as there are any."""
    by_key = {section.key: section for section in made}
    rejected = [table.title for table in by_key["data"].tables if table.title.startswith("What was rejected")]
    read, forgotten = by_key["data"].figures[:1], by_key["capabilities"]
    figures = [*by_key["gate"].figures[:3]]
    if read:
        value = rejected[0].partition(": ")[2] if rejected else "none"
        figures.append(Figure("rejected", value, f"of {read[0].value} {read[0].name.removesuffix(' read')} read"))
    if forgotten.state not in ("not made", "not measured"):
        figures.append(Figure("forgotten", forgotten.state, "by the benchmarks"))
    price = f"{spent.price:.2f} {spent.currency}" if spent.price is not None else "price not known"
    return [*figures, Figure("cost", by_key["cost"].state, price)]


def _get(found: Mapping[str, a.Artifact], asset: str, kind: type[A]) -> A | None:
    artifact = found.get(asset)
    return artifact if isinstance(artifact, kind) else None


def _data(found: Mapping[str, a.Artifact]) -> Section:
    section = Section("data", "Data", ("clean_dataset", "raw_dataset", "train_split", "dev_split", "test_split"))
    sets = {name: _get(found, name, a.InstructionDataset) for name in section.assets}
    raw, clean = sets["raw_dataset"], sets["clean_dataset"]
    stages = [("read", raw), ("cleaned", clean), *((name, sets[f"{name}_split"]) for name in ("train", "dev", "test"))]
    there = [(name, rows) for name, rows in stages if rows]
    if not there:
        return section
    section.text = f"From {there[0][1].source or 'an unknown source'}."
    read = raw.rows + sum(raw.rejected.values()) if raw else 0
    for name, rows in there:
        share = f"{100 * rows.rows / read:.1f} % of the {read:,} rows read" if name == "cleaned" and read else ""
        section.figures.append(Figure("rows " + name if name in ("read", "cleaned") else f"{name} rows", f"{read if name == 'read' else rows.rows:,}", share))  # fmt: skip
    rejected = [(count, reason, name) for name, rows in there for reason, count in rows.rejected.items()]
    if rejected:
        most = max(count for count, *_ in rejected)
        section.tables.append(
            Table(
                f"What was rejected: {sum(count for count, *_ in rejected):,} rows",
                ("reason", "when", "rows", ""),
                [
                    (reason.replace("_", " "), name, f"{count:,}", Bars(((count / most, "lost"),)))
                    for count, reason, name in sorted(rejected, reverse=True)
                ],
            )
        )
    elif clean:
        section.remarks.append((Word("note"), "No row was rejected."))
    failed = [t for t in (clean or there[-1][1]).thresholds if not t.passed]
    section.remarks += [
        (Word("fails", "fail"), f"{t.name.replace('_', ' ')}: {t.value:g}, {t.direction} {t.limit:g}") for t in failed
    ]
    proofs = [rows.proof for _, rows in there if rows.proof]
    if proofs:
        section.tables.append(
            Table(
                "Leakage: items of the later split that occur in the earlier one",
                ("", "items", "exact", "near", "same group", "contained", "by meaning"),
                [
                    (
                        *(p.against, f"{p.test_rows:,}", f"{p.exact:,}", f"{p.near:,}", f"{p.groups:,}"),
                        *(f"{p.contained_over_limit:,}", "–" if p.semantic is None else f"{p.semantic:,}"),
                    )
                    for p in proofs
                ],
            )
        )
    section.unseen = sorted({f"leakage: {what}" for p in proofs for what in p.not_compared})
    section.remarks += [(Word("note"), note) for note in sorted({note for _, rows in there for note in rows.notes})]
    leaking = [p for p in proofs if not p.clean]
    if leaking:
        section.state, section.outcome = "leaks", "fail"
    elif failed:
        section.state, section.outcome = f"{len(failed)} threshold{'s' if len(failed) > 1 else ''} failed", "fail"
    elif sets["test_split"]:
        section.state, section.outcome = "no leak found", "pass"
    else:
        section.state = "cleaned" if clean else "read"
    return section


def _base(found: Mapping[str, a.Artifact]) -> Section:
    section = Section("base", "Base model", ("base_model", "base_model_guard"))
    model, guard = _get(found, "base_model", a.ModelSnapshot), _get(found, "base_model_guard", a.GuardReport)
    plan, gate = _get(found, "training_plan", a.TrainingPlan), _get(found, "gate_report", a.GateReport)
    if not model:
        return section
    section.state = "not guarded"
    section.text = f"{model.architecture} from {model.source}, revision {model.revision[:12]}."
    section.figures = [Figure("parameters", f"{model.parameters:,}", f"vocabulary of {model.vocabulary:,}")]
    if plan and plan.base_success is not None:
        section.figures.append(
            Figure("success on dev, before training", f"{100 * plan.base_success:.1f} %", "", "base")
        )
    if gate:
        low, high = gate.overall.base_interval
        detail = f"95 % interval {100 * low:.1f} to {100 * high:.1f}"
        section.figures.append(Figure("success on test", f"{100 * gate.overall.base_rate:.1f} %", detail, "base"))
    if guard:
        passed = f"{len(guard.checks)} checks and {len(guard.sentinels)} sentinels"
        section.state, section.outcome = ("is a base", "pass") if guard.passed else ("refused", "refused")
        section.remarks = [(Word("refused", "refused"), problem) for problem in guard.problems]
        section.text += (
            f" {passed} show{' no' if guard.passed else ''} sign of an instruct model." if guard.passed else ""
        )
    return section


def _findings(found: Sequence[a.Finding]) -> list[tuple[Word, str]]:
    words = {"blocking": Word("blocking", "fail"), "warning": Word("warning", "refused"), "info": Word("note")}
    ordered = sorted(found, key=lambda f: list(words).index(f.severity))
    return [(words[f.severity], _and(f.evidence, f.remedy)) for f in ordered]


def _and(text: str, remedy: str) -> str:
    return f"{text.removesuffix('.')}. {remedy[:1].upper()}{remedy[1:]}." if remedy else text


def _plan(found: Mapping[str, a.Artifact]) -> Section:
    section = Section("plan", "Plan", ("training_plan",))
    plan = _get(found, "training_plan", a.TrainingPlan)
    if not plan:
        return section
    refused = bool(plan.blocking)
    section.state, section.outcome = ("refused", "refused") if refused else ("may start", "pass")
    memory, power = sum(plan.memory_bytes.values()), plan.power.get("exact")
    section.figures = [
        Figure(
            "steps", f"{plan.steps:,}", f"of {plan_text.batch(plan)} sequences, {plan.warmup_steps} of them warm-up"
        ),
        Figure("coverage", f"{plan.coverage:.3g} epochs", f"of {plan.trained_rows:,} rows"),
        Figure("trained parameters", f"{plan.trainable_parameters:,}", f"of {plan.total_parameters:,}"),
        Figure("peak learning rate", f"{max(plan.learning_rates):.2g}"),
        Figure("memory, estimated", f"{memory / 1e9:.2f} GB", "per device"),
    ]
    if power is not None:
        items = f"{sum(plan.test_items.values()):,} test items"
        section.figures.append(Figure("power of the gate", f"{power:.2f}", f"at the planned lift, with {items}"))
    section.remarks = _findings(plan.findings)
    return section


def _search(found: Mapping[str, a.Artifact]) -> list[Section]:
    report = _get(found, "search_report", a.SearchReport)
    if not report or report.verdict is None:
        return []
    section = Section("search", "Search", ("search_report",))
    section.state = "better found" if report.winner is not None else "no better"
    section.text = f"{search_text.headline(report)}. {search_text.optimism(report)}."
    tried = f"on {report.rows[0]:,} rows, by {str(report.objective).replace('_', ' ')}"
    section.figures = [
        Figure("trials", f"{len(report.trials):,}", tried),
        Figure("confirmed on", f"{report.rows[1]:,} rows", f"with {len(report.seeds)} fresh seeds"),
        Figure("default", search_text.figure(report, report.default), "on the rows of the confirmation"),
    ]
    section.remarks = [(Word("note"), note) for note in report.notes]
    return [section]


def _training(found: Mapping[str, a.Artifact]) -> Section:
    section = Section("training", "Training", ("lora_adapter", "training_report"))
    adapter, report = _get(found, "lora_adapter", a.AdapterSnapshot), _get(found, "training_report", a.TrainingReport)
    if not adapter:
        return section
    section.state = "not diagnosed"
    seconds, tokens = adapter.measurements.get("seconds"), adapter.measurements.get("tokens")
    section.figures = [
        Figure(
            "steps made", f"{adapter.steps:,}", f"{adapter.epochs:.3g} epochs; the adapter is of step {adapter.step:,}"
        ),
        Figure("training loss", f"{adapter.loss_first:.3f} → {adapter.loss_last:.3f}", "first and last logged"),
    ]
    if adapter.dev_loss is not None:
        section.figures.append(Figure("dev loss", f"{adapter.dev_loss:.3f}"))
    if seconds is not None:
        detail = f"{int(tokens):,} tokens" if tokens else ""
        section.figures.append(Figure("time", f"{float(seconds) / 60:.1f} min", detail))
    if report:
        section.state, section.outcome = ("healthy", "pass") if report.healthy else ("unhealthy", "fail")
        section.remarks = _findings(report.findings)
        section.picture = Picture("training_report", "curves.png", "Loss, gradient norm, learning rate and accuracy")
    return section


def _series(found: Mapping[str, a.Artifact]) -> Section:
    section = Section("checkpoints", "Checkpoints", ("checkpoint_series",))
    report = _get(found, "checkpoint_series", a.SeriesReport)
    if not report:
        return section
    section.state = f"best: step {report.best.step:,}" if report.best.n else "none judged"
    section.text = checkpoint_table.best(report)
    types = {name for point in report.points for name in point.types}
    rows = [{name: cell for name, cell in row.items() if name not in types} for row in checkpoint_table.rows(report)]
    section.tables = [Table(f"On the {report.split} split", tuple(rows[0]), [tuple(row.values()) for row in rows])]
    section.remarks = [(Word("note"), note) for note in report.notes]
    return section


def _answers(found: Mapping[str, a.Artifact]) -> Section:
    assets = ("base_generations", "sft_generations", "comparator_generations")
    section = Section("answers", "Answers to the test split", assets)
    both = {name: _get(found, asset, a.Generations) for name, asset in zip(("base", "fine-tuned"), assets)}
    there = {name: made for name, made in both.items() if made}
    if not there:
        return section
    section.state = "made" if len(there) == 2 else f"{next(iter(there))} only"
    first = next(iter(there.values()))
    section.text = f"Of {first.rows:,} items, on {first.conditions.get('device', 'an unknown device')} in {first.conditions.get('dtype', 'unknown precision')}."  # fmt: skip
    rows = [
        ("tokens of an answer, mean", lambda m: f"{m.mean_tokens:,.1f}"),
        ("cut at the limit of new tokens", lambda m: f"{100 * m.truncated_share:.1f} %"),
        ("changed in a second run", lambda m: "–" if m.flip_rate is None else f"{100 * m.flip_rate:.1f} %"),
    ]
    section.tables = [
        Table("", ("", *there), [(name, *(value(made) for made in there.values())) for name, value in rows])
    ]
    prompted = _get(found, "comparator_generations", a.ComparatorGenerations)
    if prompted and prompted.comparators:
        columns = ("prompt", "tokens of a prompt", "tokens of an answer", "cut", "not asked")
        section.tables.append(
            Table(
                "The base with other prompts",
                columns,
                [
                    (
                        *(f"{name}: {made.label}", f"{made.prompt_tokens:,.1f}", f"{made.mean_tokens:,.1f}"),
                        *(f"{100 * made.truncated_share:.1f} %", f"{len(made.unasked):,}"),
                    )
                    for name, made in prompted.comparators.items()
                ],
            )
        )
    return section


def _gate(found: Mapping[str, a.Artifact]) -> Section:
    section = Section("gate", "Verdict", ("gate_report",))
    report = _get(found, "gate_report", a.GateReport)
    if not report:
        section.state = "not judged yet"
        return section
    o, parts = report.overall, gate_text.sections(report)
    section.state, section.outcome = report.verdict, report.verdict
    section.text = gate_text.headline(report) + "."
    low, high = o.lift_interval
    section.figures = [
        _rate("base", o.base_successes, o.n, o.base_interval, "base"),
        _rate("fine-tuned", o.sft_successes, o.n, o.sft_interval, "sft"),
        Figure(
            "lift",
            f"{points(o.lift)} points",
            f"95 % interval {points(low)} to {points(high)}; {o.won:,} won, {o.lost:,} lost",
        ),
        Figure(f"McNemar, {report.test}", f"p = {report.p:.3g}", f"decides at {report.alpha:g}"),
    ]
    for reason in parts.decided:
        text = _and(f"{reason.criterion}: {reason.detail}", reason.remedy)
        section.remarks.append((Word(reason.outcome, reason.outcome), text))
    if parts.passed:
        section.remarks.append(
            (Word("pass", "pass"), f"{len(parts.passed)} criteria: {', '.join(r.criterion for r in parts.passed)}")
        )
    section.unseen = [f"gate, {reason.criterion}: {reason.detail}" for reason in parts.unchecked]
    if report.missing:
        section.unseen.append(f"gate: {report.missing:,} items, which could not be judged")
    if len(report.types) > 1:
        section.tables.append(
            Table(
                "By type",
                ("type", "items", "base", "fine-tuned", "", "lift", "95 % interval", "lost", "won"),
                [
                    (
                        *(g.name, f"{g.n:,}", f"{100 * g.base_rate:.1f} %", f"{100 * g.sft_rate:.1f} %"),
                        Bars(((g.base_rate, "base"), (g.sft_rate, "sft"))),
                        *(points(g.lift), _span(g.lift_interval), f"{g.lost:,}", f"{g.won:,}"),
                    )
                    for g in sorted(report.types, key=lambda g: -g.n)
                ],
            )
        )
    return section


def _rate(name: str, successes: int, n: int, interval: tuple[float, float], model: str) -> Figure:
    if not n:
        return Figure(name, "–", "0 of 0", model)
    span = f"{successes:,} of {n:,}, interval {100 * interval[0]:.1f} to {100 * interval[1]:.1f}"
    return Figure(name, f"{100 * successes / n:.1f} %", span, model)


def _span(interval: tuple[float, float]) -> str:
    return f"{points(interval[0])} to {points(interval[1])}"


def _capabilities(found: Mapping[str, a.Artifact]) -> Section:
    section = Section("capabilities", "What was forgotten", ("capability_report",))
    gate, report = _get(found, "gate_report", a.GateReport), _get(found, "capability_report", a.CapabilityReport)
    if gate and gate.protected:
        section.tables.append(
            Table(
                "Guarantees of the gate, on the test split",
                ("guarantee", "verdict", "items", "difference", "95 % interval", "tolerated"),
                [
                    (
                        *(p.name, Word(p.verdict, p.verdict), f"{p.result.n:,}", points(p.result.lift)),
                        *(_span(p.result.lift_interval), points(-p.margin)),
                    )
                    for p in gate.protected
                ],
            )
        )
    if not report or not (report.results or report.perplexity):
        section.state = "not measured" if report else "not made"
        section.unseen.append(
            "capabilities: no benchmark was measured, so nothing is known of what the model forgot elsewhere"
        )
        return section
    outcomes = {"held": "pass", "regressed": "fail", "undecided": "refused", None: ""}
    section.state, section.outcome = report.verdict or "measured", outcomes[report.verdict]
    section.text = capability_text.headline(report).capitalize() + "."
    if report.results:
        section.tables.insert(
            0,
            Table(
                "Benchmarks",
                (
                    "metric",
                    "verdict",
                    "items",
                    capability_text.reference(report),
                    "fine-tuned",
                    "",
                    "difference",
                    "tolerated",
                ),
                [
                    (
                        f"{r.name}, {r.metric}",
                        Word(r.verdict, r.verdict) if r.verdict else "reported only",
                        f"{r.n:,} of {r.available:,}",
                        f"{100 * r.base.mean:.1f} %",
                        f"{100 * r.sft.mean:.1f} %" if r.sft else "–",
                        Bars(((r.base.mean, "base"), *(((r.sft.mean, "sft"),) if r.sft else ()))),
                        capability_text.difference(r),
                        "–" if r.margin is None else points(-r.margin),
                    )
                    for r in report.results
                ],
            ),
        )
    if report.perplexity:
        value, _, detail = capability_text.perplexity(report).partition(", ")
        section.figures.append(Figure("perplexity of dev responses", value, detail))
    section.remarks = [(Word("blocks", "fail"), text) for text in report.problems]
    section.remarks += [(Word("note"), text) for text in report.notes]
    return section


def _review(found: Mapping[str, a.Artifact]) -> Section:
    section = Section("review", "Human review", ("human_review", "review_request"))
    request, review = _get(found, "review_request", a.ReviewRequest), _get(found, "human_review", a.HumanReview)
    if request and not request.declared:
        section.state = "none declared"
        section.unseen.append("people: no human review was asked for")
    elif review and review.raters:
        section.state = f"{len(review.raters)} rater{'s' if len(review.raters) > 1 else ''}"
        section.text = f"{preferred(review.preference)}." if review.preference else ""
        doubted = sum(bool(rater.problems) for rater in review.raters)
        section.figures = [Figure("labels", f"{review.labels:,}", f"{review.unsettled:,} answers to settle")]
        section.figures += [
            Figure(f"agreement on {x.question}", f"{x.agreed:,} of {x.n:,}", f"{x.measure} {'–' if x.value is None else f'{x.value:.2f}'}")
            for x in review.agreement
        ]  # fmt: skip
        if doubted:
            section.remarks.append(
                (Word("warning", "refused"), f"{doubted} of the raters may not be believed; see review.txt")
            )
    elif request:
        section.state = "nothing returned"
        section.text = f"{request.items:,} pairs were asked of {len(request.tasks)} raters."
        section.unseen.append("people: the pages of the human review have not come back")
    return section


def _release(found: Mapping[str, a.Artifact], experiment: Experiment | None) -> Section:
    section = Section("release", "Release", ("release", "model_exports"))
    exports, release = _get(found, "model_exports", a.ExportReport), _get(found, "release", a.ReleaseSnapshot)
    if exports and exports.results:
        colours = {"accepted": "pass", "undecided": "refused", "not_judged": "refused"}
        section.tables.append(
            Table(
                "Exports, held against the adapter that the gate judged",
                ("export", "verdict", "detail"),
                [
                    (r.kind, Word(r.verdict.replace("_", " "), colours.get(r.verdict, "fail")), r.detail)
                    for r in exports.results
                ],
            )
        )
    elif experiment and experiment.export.kinds:
        section.text = f"Declared and not made: {', '.join(experiment.export.kinds)}. "
    if release:
        section.state, section.outcome = ("made", "pass") if release.kind == "release" else (release.kind, "")
        section.text += (
            f"A {release.kind} of {len(release.files):,} files and {release.bytes:,} bytes; its verify.py checks it."
        )
    return section


def _expectations(found: Mapping[str, a.Artifact], experiment: Experiment | None) -> list[Section]:
    rows = expectations.compared(experiment, found)
    if not rows:
        return []
    measured = sum(bool(row.measured) for row in rows)
    section = Section("expectations", "Expected and measured", (), f"{measured} of {len(rows)} measured")
    section.text = (
        "What the specification expects, such as the figures of a record, beside what came out; it decides nothing."
    )
    section.tables = [Table("", ("figure", "expected", "measured", "difference"), rows)]
    return [section]


def _cost(spent: Cost) -> Section:
    section = Section("cost", "Cost", ())
    section.text = "; ".join(lines(spent)) + "."
    section.state = f"{spent.seconds / 3600:.2f} h"
    columns = ("made", "seconds", "device", "tokens", "price")
    section.tables = [
        Table(
            "",
            columns,
            [
                (
                    *(", ".join(s.assets), f"{s.seconds:,.1f}", f"{s.devices} × {s.device}" if s.devices else s.device),
                    *("" if s.tokens is None else f"{s.tokens:,}", "–" if s.price is None else f"{s.price:.4f}"),
                )
                for s in spent.steps
            ],
        )
    ]
    return section
