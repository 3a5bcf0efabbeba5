"""Would a prompt have done? The prompted base beside base and fine-tuned model, on the same items by the same scorers."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sft_pipeline.artifacts import ComparatorResult, GroupResult, ModelComparison, Reason, TokenCost
from sft_pipeline.evaluation.gate.criteria.formatting import interval, percent, signed
from sft_pipeline.evaluation.gate.criteria.registry import precondition
from sft_pipeline.evaluation.gate.pairs import MODELS, Answer, Pair
from sft_pipeline.evaluation.scoring.score import PAIRWISE, score_both, score_items, scorer_for
from sft_pipeline.evaluation.statistics.clusters import clustered_p, with_clusters
from sft_pipeline.evaluation.statistics.paired import holm, paired, wilson
from sft_pipeline.evaluation.statistics.power import items_needed
from sft_pipeline.experiment import Evaluation, Gate

Row = Mapping[str, Any]
InPairs = Mapping[tuple[str, str], Mapping[str, tuple[bool | None, bool | None]]]
"""By two models and id the outcomes of both, where a judge compared their answers."""


@dataclass(frozen=True)
class Prompted:
    """A comparator's answers.

    Attributes:
        name: as declared or given.
        label: what it is, as the headline names it.
        answers: by id; an item without one was not asked, or nobody judged its answer.
        prompt_tokens: mean tokens of its prompts; None where they are not known.
        notes: what a reader must know.
        problems: why it is no comparison.
    """

    name: str
    label: str
    answers: Mapping[str, Answer]
    prompt_tokens: float | None = None
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


class Prompts(NamedTuple):
    """What the report says of the comparators."""

    prompted: Sequence[Prompted] = ()
    results: tuple[ComparatorResult, ...] = ()
    comparisons: tuple[ModelComparison, ...] = ()
    costs: dict[str, TokenCost] = {}
    reasons: Sequence[Reason] = ()


NONE = Prompts()
"""Without comparators."""


def judge(
    rows: Sequence[Row],
    outputs: Mapping[str, Mapping[str, str]],
    evaluation: Evaluation,
    root: Path,
    work: Path | None = None,
) -> tuple[dict[str, dict[str, Any]], InPairs]:
    """The scorers' judgements of each comparator's answers, by its name and the id, and those of a judge of pairs.

    Args:
        rows: the items.
        outputs: by model (base, sft and the comparators) its answers by id; a comparator may lack some.
        evaluation: the scorers by type of item.
        root: the project's root.
        work: a folder that outlives a killed process, for the replies of a judge.
    """
    pairwise = [row for row in rows if scorer_for(row["type"], evaluation.scorers).kind in PAIRWISE]
    names = [name for name in outputs if name not in MODELS]
    judged = {
        name: {
            j.id: j for j in score_items([r for r in rows if r["id"] in outputs[name]], outputs[name], evaluation, root)
        }
        for name in names
    }
    in_pairs = {}
    for one, other in _pairs_of(names) if pairwise else ():
        if (one, other) == MODELS:
            continue
        both = [row for row in pairwise if row["id"] in outputs[one] and row["id"] in outputs[other]]
        found = score_both(both, outputs[one], outputs[other], evaluation, root, work)
        in_pairs[one, other] = {a.id: (a.success, b.success) for a, b in found}
    return judged, in_pairs


def _pairs_of(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Every pair of models, the fine-tuned one last: a lift is then its own."""
    return combinations(("base", *names, "sft"), 2)


def prompts(
    pairs: Sequence[Pair],
    prompted: Sequence[Prompted],
    gate: Gate,
    plain_tokens: Mapping[str, float | None],
    in_pairs: InPairs,
) -> Prompts:
    """Every pair of models on the items that both have judged answers to, and what follows for each comparator.

    Args:
        pairs: base and fine-tuned model.
        prompted: the comparators; without any there is nothing to report.
        gate: names the test, its level and the planned lift.
        plain_tokens: mean tokens of the prompts of base and sft; None where they are not known.
        in_pairs: outcomes of a judge of pairs, for the items that have no outcome by themselves.
    """
    if not prompted:
        return NONE
    single: dict[str, dict[str, bool | None]] = {
        m: {p.id: getattr(p, m).success for p in pairs} for m in ("base", "sft")
    } | {c.name: {p.id: c.answers[p.id].success for p in pairs if p.id in c.answers} for c in prompted}

    def compared(one: str, other: str) -> GroupResult:
        judged = in_pairs.get((one, other), {})
        none = None, None  # that a judge preferred one of two answers says nothing of a third
        found = [
            (p, *judged.get(p.id, none))
            if p.compared and (one, other) != MODELS
            else (p, single[one].get(p.id), single[other].get(p.id))
            for p in pairs
        ]
        both = [(p.cluster, a, b) for p, a, b in found if a is not None and b is not None]
        first, second = [a for _, a, _ in both], [b for *_, b in both]
        name = f"{other} − {one}"
        return with_clusters(paired(name, first, second), first, second, [c for c, *_ in both], gate)

    results = [(one, other, compared(one, other)) for one, other in _pairs_of([c.name for c in prompted])]
    p_values = [clustered_p(result, gate.test) for *_, result in results]
    comparisons = tuple(
        ModelComparison(baseline=one, model=other, result=result, p=p, p_adjusted=adjusted)
        for (one, other, result), p, adjusted in zip(results, p_values, holm(p_values), strict=True)
    )
    against = {c.baseline: c for c in comparisons if c.model == "sft"}
    made = tuple(_result(c, pairs, against[c.name], len(comparisons), gate) for c in prompted)
    completion = {m: [getattr(p, m).tokens for p in pairs] for m in ("base", "sft")}
    completion |= {c.name: [a.tokens for a in c.answers.values()] for c in prompted}
    prompt = {**plain_tokens} | {c.name: c.prompt_tokens for c in prompted}
    costs = {m: TokenCost(prompt=prompt[m], completion=mean_of(tokens)) for m, tokens in completion.items()}
    reasons = [
        _reason(c, result, against[c.name], len(comparisons), gate, costs)
        for c, result in zip(prompted, made, strict=True)
    ]
    return Prompts(prompted, made, comparisons, costs, reasons)


def mean_of(values: Sequence[int | None]) -> float | None:
    """The mean; None where one of them is not known."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _result(
    c: Prompted, pairs: Sequence[Pair], against: ModelComparison, comparisons: int, gate: Gate
) -> ComparatorResult:
    judged = [(p.type, c.answers[p.id].success) for p in pairs if p.id in c.answers]
    own = [(type, success) for type, success in judged if success is not None]
    cut = [c.answers[p.id].cut for p in pairs if p.id in c.answers]
    successes, lift = sum(success for _, success in own), against.result.lift
    finding: Literal["beaten", "same", "better", "undecided"]
    if c.problems:  # it is no comparison, so it shows nothing
        finding = "undecided"
    elif against.p_adjusted <= gate.alpha:
        finding = "beaten" if lift > 0 else "better"
    elif _upper(against.result) < gate.planned_lift:
        finding = "same"
    else:
        finding = "undecided"
    return ComparatorResult(
        name=c.name,
        label=c.label,
        n=len(own),
        successes=successes,
        interval=wilson(successes, len(own)),
        types={
            name: (sum(s for type, s in own if type == name), sum(type == name for type, _ in own))
            for name in sorted({type for type, _ in own})
        },
        missing=len(pairs) - against.result.n,
        finding=finding,
        decides_at=_decides_at(against.result, comparisons, gate)
        if finding == "undecided" and not c.problems
        else None,
        truncated=sum(map(bool, cut)) / len(cut) if cut and None not in cut else None,
        notes=c.notes,
    )


def _upper(result: GroupResult) -> float:
    """The upper end of the lift's interval, over clusters where that is the larger one."""
    return max(result.lift_interval[1], result.cluster_interval[1] if result.cluster_interval else -1.0)


def _decides_at(result: GroupResult, comparisons: int, gate: Gate) -> int | None:
    """About how many items decide if lift and share of discordant pairs stay what they are; None beyond 200,000.

    Either the fine-tuned model is then found better with the probability `min_power`, at the level of Holm's first step, or
    the upper end of the interval, which comes nearer with the root of n, falls below the planned lift.
    """
    n, lift, wide = result.n, result.lift, _upper(result) - result.lift
    if not n:
        return None
    found = []
    if lift > 0:
        discordance, level = (result.won + result.lost) / n, gate.alpha / comparisons
        # Of items in clusters as many more are needed as their interval is wider.
        effect = max(1.0, (wide / (result.lift_interval[1] - lift)) ** 2) if result.lift_interval[1] > lift else 1.0
        needed = items_needed(lift, discordance, level, gate.min_power, gate.test)
        found += [needed * effect] if needed is not None else []
    if lift < gate.planned_lift:
        found.append(n * (wide / (gate.planned_lift - lift)) ** 2)
    return max(n + 1, math.ceil(min(found))) if found and min(found) <= 200_000 else None


def _reason(
    c: Prompted,
    result: ComparatorResult,
    against: ModelComparison,
    comparisons: int,
    gate: Gate,
    costs: Mapping[str, TokenCost],
) -> Reason:
    if c.problems:
        return precondition("comparators", "refused", f"{c.label}: {'; '.join(c.problems)}", name=c.name)
    lift = against.result
    said = {
        "beaten": "the fine-tuned model is significantly better",
        "better": "the prompt is significantly better than the fine-tuned model",
        "same": f"the prompt does the same: the fine-tuned model is ahead by less than the planned {signed(gate.planned_lift)} points",
        "undecided": "the items do not decide whether the fine-tuned model is better" + decided_by(result),
    }[result.finding]
    rate = f"{percent(result.successes / result.n)} of {result.n}, " if result.n else ""
    detail = (
        f"{c.label}: {rate}fine-tuned minus prompt {signed(lift.lift)} points ({interval(lift.lift_interval)}; {lift.won} won, "
        f"{lift.lost} lost of {lift.n}), p = {against.p_adjusted:.3g} (Holm over {comparisons} comparisons, alpha = "
        f"{gate.alpha:g}): {said}{''.join(f'; {note}' for note in (*_prices(c.name, costs), *_lacking(result), *c.notes))}"
    )
    fails = gate.beat_comparators and (
        result.finding in ("same", "better") or (result.finding == "undecided" and gate.undecided == "fails")
    )
    outcome: Literal["pass", "fail", "info"] = "fail" if fails else "pass" if result.finding == "beaten" else "info"
    return precondition("comparators", outcome, detail, name=c.name)


def decided_by(result: ComparatorResult) -> str:
    """How many items would decide what is undecided, behind a colon."""
    if result.decides_at is None:
        return ""
    return f": about {result.decides_at:,} items would, if the shares of won and lost ones stay"


def _prices(name: str, costs: Mapping[str, TokenCost]) -> Iterator[str]:
    known = [(m, costs[m].prompt, costs[m].completion) for m in (name, "sft")]
    if all(p is not None and a is not None for _, p, a in known):
        (_, prompt, answer), (_, plain, tuned) = known
        yield f"{prompt:.1f} + {answer:.1f} tokens per answer (prompt + completion), of the fine-tuned model {plain:.1f} + {tuned:.1f}"


def _lacking(result: ComparatorResult) -> Iterator[str]:
    if result.missing:
        yield f"{result.missing} items without a judged answer on both sides are left out"
