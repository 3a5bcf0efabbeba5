"""Readability and sanity: is there an answer of each model to each item, and could the scorer read it?"""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from sft_pipeline.evaluation.gate import answer_texts
from sft_pipeline.evaluation.gate.comparison import SAMPLE, Comparison
from sft_pipeline.evaluation.gate.criteria.criterion import Finding
from sft_pipeline.evaluation.gate.criteria.formatting import percent
from sft_pipeline.evaluation.gate.pairs import MODELS
from sft_pipeline.evaluation.scorers.text import excerpt

NAMES = {"base": "the base", "sft": "the fine-tuned model"}


def readable(c: Comparison) -> Iterator[Finding]:
    """Answers in which their scorer found no answer."""
    scored = c.judged & np.array([p.verified is not None and not p.compared for p in c.pairs], dtype=bool)
    unread = {m: scored & ~c.readable[m] for m in MODELS}
    shares = {m: unread[m].sum() / max(1, scored.sum()) for m in MODELS}
    if not any(shares.values()):
        return
    worst = max(MODELS, key=shares.__getitem__)
    reasons = Counter(getattr(c.pairs[k], worst).reason for k in np.flatnonzero(unread[worst]))
    yield Finding(
        f"the scorer found no answer in {int(unread['base'].sum())} answers of the base ({percent(shares['base'])}) and "
        f"{int(unread['sft'].sum())} of the fine-tuned model ({percent(shares['sft'])}) of {int(scored.sum())}; of "
        f"{NAMES[worst]} most often: {excerpt(reasons.most_common(1)[0][0], 90)}; at most "
        f"{percent(c.gate.max_unreadable_share)} are accepted",
        "refused" if shares[worst] > c.gate.max_unreadable_share else "info",
    )


def says_something(c: Comparison) -> Iterator[Finding]:
    """Answers that say nothing, of each model."""
    n = int(c.judged.sum())
    for m in MODELS:
        void = c.judged & c.void[m]
        share = void.sum() / max(1, n)
        if not share:
            continue
        texts = Counter(" ".join(c.texts[m][k].split())[:60] for k in np.flatnonzero(void))
        example = texts.most_common(1)[0][0]
        after = c.result("with something said", c.judged & ~void)
        hangs = c.shows(c.overall) and not c.shows(after)
        broken = share > c.gate.max_void_share and (hangs or (m == "sft" and 2 * void.sum() > n))
        yield Finding(
            f"{int(void.sum())} of {n} answers of {NAMES[m]} ({percent(share)}) say nothing: they are blank, special tokens, a "
            f"run of one sign, the prompt itself, an error message, or one text for everything, such as "
            f"“{excerpt(example) if example else ''}”; in the other pairs",
            "refused" if broken else None,
            after,
            waivable=not broken,
        )


def empty_wins(c: Comparison) -> Iterator[Finding]:
    """Wins of an answer that says nothing, counted as failures."""
    silent = c.won & c.void["sft"]
    if silent.any():
        yield Finding(
            f"in {int(silent.sum())} of {c.overall.won} won pairs the fine-tuned model says nothing; with these as failures",
            after=c.result("empty wins as failures", sft=np.where(silent, 0, c.sft)),
        )


def own_items(c: Comparison) -> Iterator[Finding]:
    """Whether the answers of each model fit their own items better than other ones."""
    part = c.pairs[:SAMPLE]
    questions, expected = [p.instruction for p in part], [p.expected for p in part]
    for m in MODELS:
        fit = answer_texts.fits_others(c.texts[m][:SAMPLE], questions, expected)
        if fit.other <= max(3, len(part) / 20):
            continue
        moved = np.isin(np.arange(len(c.pairs)), fit.moved)
        after = c.result("beside their own items", c.judged & ~moved)
        many = fit.other > min(fit.own, c.gate.max_void_share * len(part))
        if many or (c.shows(c.overall) and not c.shows(after)):
            yield Finding(
                f"{fit.other} of {len(part)} answers of {NAMES[m]} fit another item better than their own, {fit.own} their own: "
                "the answers stand beside the wrong items",
                "refused",
            )


def repetition(c: Comparison) -> Iterator[Finding]:
    """Degenerate answers; the fine-tuned model's successes among them as failures."""
    base, sft = (int(c.repetitive[m].sum()) for m in MODELS)
    if not base + sft:
        return
    n, limit = len(c.pairs), c.gate.max_repetitive_share
    detail = (
        f"repeated 4-grams make up over half of the text in {base} of {n} answers of the base and in {sft} of the fine-tuned "
        f"model; at most {percent(limit)} of the latter may decide"
    )
    after = c.result("degenerate as failures", sft=np.where(c.repetitive["sft"], 0, c.sft))
    broken = sft > limit * n and not c.shows(after)
    yield Finding(f"{detail}; with these as failures", "refused" if broken else "info", after)


def truncation(c: Comparison) -> Iterator[Finding]:
    """The shares of cut answers, with a limit for each model."""
    for m, field in (("base", "max_base_truncated_share"), ("sft", "max_truncated_share")):
        known = c.cut[m] >= 0
        cut, limit = int((c.cut[m] == 1).sum()), getattr(c.gate, field)
        unseen = int(((c.cut[m] == 1) & np.array([getattr(p, m).cut is None for p in c.pairs])).sum())
        if not cut and not known.any():
            continue
        share = cut / max(1, known.sum())
        detail = f"{cut} of the {int(known.sum())} answers of {NAMES[m]} whose end is known were cut at the token limit"
        if unseen:
            detail += f"; {unseen} of them have no finish_reason and end unfinished at one length, or inside a word"
        yield Finding(
            f"{detail} ({percent(share)}, at most {percent(limit)} are accepted)",
            "refused" if share > limit else "pass",
            name=NAMES[m].removeprefix("the "),
            remedy="Raise the limit of new tokens or give stop strings, the same for both models; or accept more with "
            f"evaluation.gate.{field}.",
        )


def applied(c: Comparison) -> Iterator[Finding]:
    """Whether the fine-tuned model says anything else than the base."""
    if len(c.pairs) and c.same_text.all() and c.texts_known:
        yield Finding(
            f"both models gave the same text to all {len(c.pairs)} items: the adapter seems not to be applied", "fail"
        )
