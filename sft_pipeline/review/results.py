"""Joins what raters returned with the key: raters, agreement, preference, labels, and what is left to settle."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Literal, NamedTuple

from sft_pipeline.artifacts import (
    Estimate,
    HumanReview,
    Preference,
    RaterResult,
    ReviewKey,
    ReviewTask,
    Success,
    Unsettled,
)
from sft_pipeline.evaluation.inputs.human_labels import read_labels
from sft_pipeline.evaluation.statistics.paired import mcnemar
from sft_pipeline.provenance.hashing import canonical_json
from sft_pipeline.report.review import text
from sft_pipeline.review import rater_model, statistics
from sft_pipeline.review.draw import IDENTICAL, STRATA, shown
from sft_pipeline.review.rater_model import Response
from sft_pipeline.review.returned import SETTLED, Returned, TaskAnswer, read_returned

FASTEST = 1000
"""Words a minute beyond which nobody reads: four times the mean of silent reading, 238 (M. Brysbaert, Journal of Memory and
Language 109, 2019)."""

LEFT_OUT = "left out as asked"

SCORE = {"base": -1.0, "tie": 0.0, "sft": 1.0}


class Judged(NamedTuple):
    """A finished task with what was said."""

    rater: str
    task: ReviewTask
    answer: TaskAnswer

    @property
    def means(self) -> Literal["base", "tie", "sft"]:
        """The model whose answer is preferred."""
        if self.answer.better == "tie":
            return "tie"
        return "base" if (self.answer.better == "first") == self.task.base_first else "sft"


def read(
    key: ReviewKey,
    returned: Path,
    out: Path,
    without: Sequence[str] = (),
) -> HumanReview:
    """Check and join all that was returned, and write the results to `out`.

    Args:
        key: the request.
        returned: folder of returned files, and of `settled.jsonl` where disagreements were settled.
        out: empty folder.
        without: raters whose answers are left out.

    Raises:
        DataError: settled.jsonl cannot be used.
    """
    used, rejected = read_returned(key, returned)
    for rater in without:
        if rater in used:
            rejected[used.pop(rater).source] = LEFT_OUT
    judged = [
        Judged(rater, task, answer)
        for rater, r in used.items()
        for task in key.tasks[rater]
        if (answer := r.answers.get(task.task)) is not None and answer.finished
    ]
    fit = _fit(key, judged, list(used))
    raters = tuple(_rater(key, used[r], [j for j in judged if j.rater == r], fit, k) for k, r in enumerate(used))
    said = _said(key, judged)
    settled = read_labels(returned / SETTLED) if (returned / SETTLED).is_file() else {}
    labels, open_ = _labels(
        key, said, {place: one.success for place, one in settled.items() if one.success is not None}
    )
    preference = _preference(key, judged, fit)
    decided = [{r: value for r, value in unit.items() if value != "unsure"} for unit in said.values()]
    both = (
        statistics.agreement("success", decided),
        statistics.agreement("preference", list(_first(judged).values())),
    )
    fields: dict[str, Any] = {
        "request": key.request,
        "raters": raters,
        "agreement": tuple(a for a in both if a is not None),
        "preference": preference,
        "labels": sum(label["success"] is not None for label in labels),
        "unsettled": len(open_),
        "rejected": dict(sorted(rejected.items())),
    }
    review = HumanReview(root=out, **fields)
    _lines(out / HumanReview.LABELS, labels)
    _lines(out / "disagreements.jsonl", [u.model_dump() | {"success": None} for u in open_])
    of_the_store = {"files", "upstream", "measurements", "key"}
    (out / "review.json").write_text(review.model_dump_json(indent=2, exclude=of_the_store) + "\n", "utf-8")
    (out / "review.txt").write_text(text.summary(review), "utf-8")
    return HumanReview.finalize(out, **fields)


def _lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.write_text("".join(canonical_json(row) + "\n" for row in rows), "utf-8")


def _first(judged: Sequence[Judged]) -> dict[str, dict[str, str]]:
    """By item what each rater prefers, where it was shown first."""
    found: dict[str, dict[str, str]] = {}
    for j in judged:
        if j.task.kind == "item":
            found.setdefault(j.task.item, {})[j.rater] = j.means
    return found


def _said(key: ReviewKey, judged: Sequence[Judged]) -> dict[tuple[str, str], dict[str, Success]]:
    """By id and text what each rater says of its success."""
    found: dict[tuple[str, str], dict[str, Success]] = {}
    for j in judged:
        if j.task.kind == "item":
            item = key.items[j.task.item]
            for output, success in zip(shown(j.task, item), (j.answer.first, j.answer.second), strict=True):
                assert success is not None  # it is finished
                found.setdefault((item.id, output), {})[j.rater] = success
    return found


def _labels(
    key: ReviewKey,
    said: Mapping[tuple[str, str], Mapping[str, Success]],
    settled: Mapping[tuple[str, str], bool],
) -> tuple[list[dict[str, Any]], list[Unsettled]]:
    """A label of each judged answer, null where nobody could tell or raters disagree, and what is open.

    All must agree, or most of three and more; a settled one comes before that.
    """
    drawn = [item for item in key.items.values() if item.stratum != "catch"]
    count = {name: sum(item.stratum == name for item in drawn) for name in STRATA}
    weight = {item.id: key.population[item.stratum] / count[item.stratum] for item in drawn}
    labels: list[dict[str, Any]] = []
    open_ = []
    for (id, output), by_rater in said.items():
        yes, no = (sum(value == wanted for value in by_rater.values()) for wanted in ("yes", "no"))
        clear = min(yes, no) == 0 or 2 * max(yes, no) > len(by_rater)
        success = yes > no if yes + no and clear else None
        if (id, output) in settled:
            success = settled[id, output]
        elif yes and no and success is None:
            open_.append(Unsettled(id=id, output=output, said=dict(by_rater)))
        reason = f"{yes} of {len(by_rater)} raters say success, {no} say no"
        labels.append({"id": id, "output": output, "success": success, "reason": reason, "weight": weight[id]})
    return labels, open_


def _preference(key: ReviewKey, judged: Sequence[Judged], fit: rater_model.Fit | None) -> Preference | None:
    by_item: dict[str, dict[str, list[float]]] = {}
    for j in judged:
        if j.task.kind != "catch":
            by_item.setdefault(j.task.item, {}).setdefault(j.rater, []).append(SCORE[j.means])
    if not by_item:
        return None
    score = {item: sum(sum(s) / len(s) for s in said.values()) / len(said) for item, said in by_item.items()}
    scores: dict[str, list[float]] = {name: [] for name in STRATA if name in key.population}
    for item, value in score.items():
        scores[key.items[item].stratum].append(value)
    weighted = [s * key.population[name] / len(values) for name, values in scores.items() for s in values]
    won, lost = (sum(s * sign > 0 for s in score.values()) for sign in (1, -1))
    net = statistics.net_preference(scores, key.population)
    corrected = fit and Estimate(value=fit.net[0], interval=fit.net[1], n=len(score))
    return Preference(
        answers={id: Preference.of_texts(key.items[id].base, key.items[id].sft) for id in sorted(score)},
        n=len(score),
        won=won,
        lost=lost,
        tied=len(score) - won - lost,
        net=net,
        p=statistics.sign_test_p(weighted),
        p_unweighted=mcnemar(lost, won).exact,
        corrected=corrected,
    )


def _fit(key: ReviewKey, judged: Sequence[Judged], raters: Sequence[str]) -> rater_model.Fit | None:
    """The model of the raters' errors; None where no pair was judged twice, so that nothing tells errors from opinions."""
    names = [name for name in STRATA if any(key.items[j.task.item].stratum == name for j in judged)]
    index = {item: k for k, item in enumerate({j.task.item: None for j in judged})}
    if not names or len(judged) == len(index):
        return None
    sides, classes = ("first", "tie", "second"), rater_model.CLASSES
    responses = [
        Response(index[j.task.item], raters.index(j.rater), sides.index(str(j.answer.better)), classes.index(j.means))
        for j in judged
    ]
    total = sum(key.population[name] for name in names) + key.population.get(IDENTICAL, 0)
    strata = [key.items[item].stratum for item in index]
    return rater_model.fit(
        responses,
        [names.index(s) if s in names else 0 for s in strata],
        [key.population[name] / total for name in names],
        [s == "catch" for s in strata],
        len(raters),
    )


def _rater(
    key: ReviewKey, returned: Returned, judged: Sequence[Judged], fit: rater_model.Fit | None, number: int
) -> RaterResult:
    said = {(j.task.item, j.task.kind): j for j in judged}
    repeats = [
        (j, said[item, "item"]) for (item, kind), j in said.items() if kind == "repeat" and (item, "item") in said
    ]
    alike = sum(again.means == before.means for again, before in repeats)
    catches = [j for j in judged if j.task.kind == "catch"]
    failed = sum(j.answer.better != "tie" or j.answer.first != j.answer.second for j in catches)
    real = [j for j in judged if j.task.kind != "catch"]
    times = [j.answer.ms / 1000 for j in judged if j.answer.ms is not None]
    result = RaterResult(
        rater=returned.rater,
        source=returned.source,
        asked=len(key.tasks[returned.rater]),
        answered=len(judged),
        position=statistics.position([str(j.answer.better) for j in real]),
        self_agreement=statistics.share(alike, len(repeats)),
        catch_failed=statistics.share(failed, len(catches)),
        error_rate=fit and Estimate(value=fit.errors[number][0], interval=fit.errors[number][1], n=len(judged)),
        seconds=median(times) if times else None,
    )
    return result.model_copy(update={"problems": tuple(_problems(key, result, judged))})


def _problems(key: ReviewKey, r: RaterResult, judged: Sequence[Judged]) -> Iterable[str]:
    """Why a rater's answers may not be believed; whether to leave them out is for people to decide."""
    from scipy.stats import binom

    if r.answered < r.asked:
        yield f"unfinished: {r.answered} of {r.asked} pairs"
    failed = round(r.catch_failed.value * r.catch_failed.n)
    if failed and binom.sf(failed - 1, r.catch_failed.n, 0.1) < 0.05:
        yield f"preferred one of two equal texts in {failed} of {r.catch_failed.n} catch trials; who reads errs in one of ten at most"
    means: list[str] = [j.means for j in judged if j.task.kind != "catch"]
    chance = sum((means.count(m) / len(means)) ** 2 for m in SCORE) if means else 1.0
    alike = round(r.self_agreement.value * r.self_agreement.n)
    if r.self_agreement.n >= 5 and chance < 1 and binom.sf(alike - 1, r.self_agreement.n, chance) > 0.05:
        yield f"answered {alike} of {r.self_agreement.n} repeated pairs alike, no more than by chance ({chance:.0%})"
    low, high = r.position.interval
    if low > 0 or high < 0:
        yield f"prefers the {'first' if low > 0 else 'second'} answer, whatever it says"
    if len(judged) >= 10 and len({j.answer.better for j in judged}) == 1:
        yield f"gave one answer ({judged[0].answer.better}) to all {len(judged)} pairs"
    fast = [j for j in judged if j.answer.ms is not None and j.answer.ms < 60_000 * _words(key, j.task) / FASTEST]
    if 2 * len(fast) > len(judged):
        yield f"took less time for {len(fast)} of {len(judged)} pairs than reading takes at {FASTEST:,} words a minute"


def _words(key: ReviewKey, task: ReviewTask) -> int:
    item = key.items[task.item]
    return sum(len(t.split()) for t in (item.instruction, *shown(task, item)))
