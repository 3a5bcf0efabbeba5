"""More than two models on the same items: rates, paired comparisons with one model or of all pairs, and all at once."""

from collections.abc import Collection, Sequence
from itertools import combinations
from pathlib import Path

from sft_pipeline.artifacts import ComparisonReport, ModelComparison, ModelRate
from sft_pipeline.errors import DataError
from sft_pipeline.evaluation.gate.criteria.formatting import some
from sft_pipeline.evaluation.inputs.outputs import Output, read_judged
from sft_pipeline.evaluation.inputs.repeated_questions import clusters_of, question
from sft_pipeline.evaluation.statistics.clusters import with_clusters
from sft_pipeline.evaluation.statistics.paired import deciding_p, holm, paired, wilson
from sft_pipeline.experiment import Gate
from sft_pipeline.provenance.hashing import hash_file


def compare(
    paths: Sequence[Path], names: Sequence[str], baseline: str | None, gate: Gate, base: Collection[str] = ()
) -> ComparisonReport:
    """Compare models by files of their judged answers, joined by id.

    Args:
        paths: one file per model: JSONL with `id` and `success` and where known `type`, `group` and the question of the
            item, or the items.parquet of a gate report; items of one group, and items without a group that ask the same question, are a cluster.
        names: name of each model, in the same order.
        baseline: the model that all others are compared with; None compares every pair.
        gate: names the deciding test and its level, and the samples and the seed of the bootstrap by cluster.
        base: names of the models that are the base in a gate report's items.parquet; any other is the fine-tuned model.

    Raises:
        DataError: fewer than two files; names that are not one for each file, or not different; an unknown baseline; a
            file that cannot be used; files that do not hold the same items, with the ids that are missing or extra.
    """
    _check_names(paths, names, baseline)
    tables = {
        name: {row.id: row for row in read_judged(path, "base" if name in base else "sft")}
        for name, path in zip(names, paths, strict=True)
    }
    types, groups = _of_items(tables, "type"), _of_items(tables, "group")
    _same_items(tables, dict(zip(names, paths, strict=True)))
    judged = [id for id in types if all(table[id].success is not None for table in tables.values())]
    unjudged = {name: sum(row.success is None for row in table.values()) for name, table in tables.items()}
    questions = {id: question([table[id] for table in tables.values()], {}) for id in types}
    clusters = clusters_of(questions, groups)
    success = {name: [bool(table[id].success) for id in judged] for name, table in tables.items()}

    pairs = [(baseline, n) for n in names if n != baseline] if baseline else list(combinations(names, 2))
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
    # Where items stand together McNemar's test is too sure: exchanging whole clusters decides as well.
    p_values = [max(deciding_p(result, gate.test), result.cluster_p or 0.0) for result in results]
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
        inputs={name: hash_file(path) for name, path in zip(names, paths, strict=True)},
    )


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
