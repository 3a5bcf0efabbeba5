"""More than two models on the same items: rates, paired comparisons with one model or of all pairs, and all at once."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean

from sft_pipeline.artifacts import (
    ComparisonReport,
    MeanScore,
    ModelComparison,
    ModelRate,
    ScoreComparison,
    ScoreReport,
)
from sft_pipeline.errors import DataError
from sft_pipeline.evaluation.gate.criteria.formatting import some
from sft_pipeline.evaluation.inputs.outputs import Output
from sft_pipeline.evaluation.inputs.reading import RECOGNISED, Given, Reading, read_logs
from sft_pipeline.evaluation.inputs.repeated_questions import clusters_of, question
from sft_pipeline.evaluation.statistics.clusters import clustered_p, with_clusters
from sft_pipeline.evaluation.statistics.paired import holm, paired, wilson
from sft_pipeline.evaluation.statistics.scores import paired_scores
from sft_pipeline.experiment import Gate

_NOTHING = "no item is judged for all models, so there is nothing to compare"


def compare(
    paths: Sequence[Path], names: Sequence[str], baseline: str | None, gate: Gate, reading: Reading = RECOGNISED
) -> ComparisonReport | ScoreReport:
    """Compare models by files of their judged answers, joined by what identifies an item.

    Scores that are no booleans, without a threshold, are compared as they are.

    Args:
        paths: one file per model, in a format of inputs/reading.py; items of one group, and items without a group that ask
            the same question, are a cluster.
        names: name of each model, in the same order.
        baseline: the model that all others are compared with; None compares every pair.
        gate: names the deciding test and its level, and the samples and the seed of the bootstrap by cluster.
        reading: how the files are to be read.

    Raises:
        DataError: fewer than two files; names that are not one for each file, or not different; an unknown baseline; a
            file that cannot be used; files that do not hold the same items, with the ids that are missing or extra; no item
            that is judged for all models.
    """
    _check_names(paths, names, baseline)
    given = dict(zip(names, read_logs(paths, reading), strict=True))
    tables = {name: {output.id: output for output in g.log.outputs} for name, g in given.items()}
    _require_judged(given)
    types, groups = _of_items(tables, "type"), _of_items(tables, "group")
    _same_items(tables, dict(zip(names, paths, strict=True)))
    judged = [id for id in types if all(table[id].success is not None for table in tables.values())]
    unjudged = {name: sum(row.success is None for row in table.values()) for name, table in tables.items()}
    questions = {id: question([table[id] for table in tables.values()], {}) for id in types}
    clusters = clusters_of(questions, groups)
    pairs = [(baseline, n) for n in names if n != baseline] if baseline else list(combinations(names, 2))
    notes = tuple(_notes(given))
    if any(g.scores for g in given.values()):
        return _compare_scores(given, pairs, clusters, baseline, gate, notes)
    if not judged:
        raise DataError(_NOTHING)
    success = {name: [bool(table[id].success) for id in judged] for name, table in tables.items()}
    results = [
        with_clusters(
            paired(f"{model} − {b}", success[b], success[model]),
            success[b],
            success[model],
            [clusters[id] for id in judged],
            gate,
        )
        for b, model in pairs
    ]
    p_values = [clustered_p(result, gate.test) for result in results]
    q, p = cochran_q([success[name] for name in names])
    return ComparisonReport(
        models=tuple(names),
        n=len(judged),
        missing=len(types) - len(judged),
        unjudged=unjudged if any(unjudged.values()) else {},
        repeated=sum(clusters[id] != groups[id] for id in types),
        baseline=baseline,
        test=gate.test,
        alpha=gate.alpha,
        cochran_q=q,
        cochran_p=p,
        rates=tuple(_rates(success, [types[id] or "all" for id in judged])),
        comparisons=tuple(
            ModelComparison(baseline=b, model=model, result=result, p=p, p_adjusted=adjusted)
            for (b, model), result, p, adjusted in zip(pairs, results, p_values, holm(p_values), strict=True)
        ),
        inputs={name: g.sha256 for name, g in given.items()},
        notes=notes,
    )


def _compare_scores(
    given: Mapping[str, Given],
    pairs: Sequence[tuple[str, str]],
    clusters: Mapping[str, str | None],
    baseline: str | None,
    gate: Gate,
    notes: tuple[str, ...],
) -> ScoreReport:
    """The same of scores: mean differences with the sign-flip test."""
    ids = [id for id in clusters if all(g.scores.get(id) is not None for g in given.values())]
    if not ids:
        raise DataError(_NOTHING)
    values = {name: [g.scores[id] or 0.0 for id in ids] for name, g in given.items()}
    groups = [clusters[id] for id in ids]
    found = [paired_scores(values[b], values[m], groups, gate.bootstrap_samples, gate.bootstrap_seed) for b, m in pairs]
    return ScoreReport(
        metric=next(iter(given.values())).log.metric or "score",
        models=tuple(given),
        n=len(ids),
        missing=len(clusters) - len(ids),
        clusters=found[0].clusters,
        baseline=baseline,
        alpha=gate.alpha,
        means=tuple(MeanScore(model=m, n=len(ids), mean=fmean(v)) for m, v in values.items()),
        comparisons=tuple(
            ScoreComparison(
                baseline=b,
                model=m,
                difference=result.difference,
                interval=result.interval,
                better=sum(y > x for x, y in zip(values[b], values[m], strict=True)),
                worse=sum(y < x for x, y in zip(values[b], values[m], strict=True)),
                p=result.p,
                p_adjusted=adjusted,
            )
            for (b, m), result, adjusted in zip(pairs, found, holm([r.p for r in found]), strict=True)
        ),
        inputs={name: g.sha256 for name, g in given.items()},
        notes=notes,
    )


def _require_judged(given: Mapping[str, Given]) -> None:
    """Refuse a file with an answer that nobody judged; null says that an answer could not be judged."""
    for g in given.values():
        for output in g.log.outputs:
            if not (output.judged or output.failure):
                where = f"{g.path}, row {output.row}"
                if g.format.name == "rows":
                    raise DataError(f"{where}, field success: is missing; must be true, false or null")
                raise DataError(
                    f"{where}: {g.format.title} without a score; score it there, or judge it with `gate --spec`"
                )


def _notes(given: Mapping[str, Given]) -> list[str]:
    return [
        f"{name}: {g.format.title}; {'; '.join(g.log.notes)}."
        for name, g in given.items()
        if g.log.notes or g.format.name != "rows"
    ]


def cochran_q(successes: Sequence[Sequence[bool]]) -> tuple[float, float]:
    """Cochran's Q of the hypothesis that all models succeed equally often, and its p-value.

    McNemar's uncorrected test for more than two models: under the hypothesis Q is nearly chi-squared with one degree of
    freedom less than there are models. Source: W. G. Cochran, Biometrika 37 (1950) 256-266. Items on which all models
    agree say nothing; where there are no others, Q is 0 and p is 1.

    Args:
        successes: by model, its success on each item in the same order.
    """
    import numpy as np
    from statsmodels.stats.contingency_tables import cochrans_q

    table = np.array(successes, dtype=int).T
    if not table.size or (table.min(axis=1) == table.max(axis=1)).all():
        return 0.0, 1.0
    result = cochrans_q(table)
    return float(result.statistic), float(result.pvalue)


def _check_names(paths: Sequence[Path], names: Sequence[str], baseline: str | None) -> None:
    if len(paths) < 2:
        raise DataError("a comparison needs at least two files of judged answers")
    if len(names) != len(paths):
        raise DataError(f"{len(names)} names for {len(paths)} files: give one for each file (--names)")
    if not all(names):
        raise DataError(f"an empty name among {', '.join(map(repr, names))}: give one for each file (--names)")
    if twice := sorted({name for name in names if list(names).count(name) > 1}):
        raise DataError(f"more than one model is called {', '.join(twice)}: give different names (--names)")
    if baseline is not None and baseline not in names:
        raise DataError(f"no model is called {baseline!r}: --baseline must be one of {', '.join(names)}")


def _of_items(tables: dict[str, dict[str, Output]], field: str) -> dict[str, str | None]:
    """What the files say of every item, by id, in the order of the first file; None where no file says it."""
    known: dict[str, str | None] = {}
    for id in {id: None for table in tables.values() for id in table}:
        found = {table[id].item[field] for table in tables.values() if id in table and table[id].item.get(field)}
        if len(found) > 1:
            raise DataError(f"item {id}, field {field}: {' and '.join(sorted(found))} in different files; make it one")
        known[id] = found.pop() if found else None
    return known


def _same_items(tables: dict[str, dict[str, Output]], paths: dict[str, Path]) -> None:
    first, *others = tables
    problems = []
    for name in others:
        if missing := list(tables[first].keys() - tables[name].keys()):
            problems.append(f"{paths[name]} lacks {some(missing)} of {paths[first]}")
        if extra := list(tables[name].keys() - tables[first].keys()):
            problems.append(f"{paths[name]} has {some(extra)} that {paths[first]} lacks")
    if problems:
        raise DataError(f"the files do not judge the same items: {'; '.join(problems)}")


def _rates(success: dict[str, list[bool]], types: Sequence[str]) -> list[ModelRate]:
    """Of every model over all items, then by type where there are several."""
    kinds = sorted(set(types))
    rates = []
    for kind in [None, *(kinds if len(kinds) > 1 else [])]:
        for model, outcomes in success.items():
            chosen = [hit for hit, type in zip(outcomes, types, strict=True) if kind in (None, type)]
            rates.append(
                ModelRate(
                    model=model,
                    type=kind,
                    n=len(chosen),
                    successes=sum(chosen),
                    interval=wilson(sum(chosen), len(chosen)),
                )
            )
    return rates
