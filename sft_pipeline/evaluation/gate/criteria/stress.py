"""The stress tests: would the lift stand if what can be doubted were judged otherwise, or left out?"""

from collections.abc import Iterator

import numpy as np

from sft_pipeline.evaluation.gate.comparison import Comparison
from sft_pipeline.evaluation.gate.criteria.criterion import Finding
from sft_pipeline.evaluation.gate.criteria.formatting import percent
from sft_pipeline.evaluation.gate.pairs import MODELS
from sft_pipeline.evaluation.statistics.paired import deciding_p

# -------------------------------------------------------------------------------------------------------- relabelling


def lenient_reading(c: Comparison) -> Iterator[Finding]:
    """Failed answers of both models that are right without what stands around them, as successes."""
    right = {m: (c.success[m] == 0) & (c.lenient[m] == 1) for m in MODELS}
    if any(mask.any() for mask in right.values()):
        base, sft = (np.where(right[m], 1, c.success[m]) for m in MODELS)
        yield Finding(
            f"{int(right['base'].sum())} failed answers of the base and {int(right['sft'].sum())} of the fine-tuned model are "
            "right when only their first line, paragraph, code block or JSON value is read, or what stands before a further "
            "question; with these as successes",
            after=c.result("read leniently", base=base, sft=sft),
        )


def contained(c: Comparison) -> Iterator[Finding]:
    """Failed answers of both models that hold the expected one, as successes."""
    holding = {m: (c.success[m] == 0) & (c.held[m] == 1) for m in MODELS}
    wins = int((c.won & holding["base"]).sum())
    if wins:
        base, sft = (np.where(holding[m], 1, c.success[m]) for m in MODELS)
        after = c.result("all that hold the answer", base=base, sft=sft)
        rare = 2 * wins <= c.overall.won
        yield Finding(
            f"in {wins} of {c.overall.won} won pairs the base's output contains the expected answer, too"
            + (", which may be chance in so few" if rare else "")
            + "; with every output that contains it as a success",
            "info" if rare else None,
            after,
        )


def ambiguous(c: Comparison) -> Iterator[Finding]:
    """Answers that name the right choice among others, against the fine-tuned model."""
    base, sft = (c.ambiguous[m] & c.judged for m in MODELS)
    if base.any() or sft.any():
        yield Finding(
            f"{int(base.sum())} answers of the base and {int(sft.sum())} of the fine-tuned model name the right answer among "
            "others, so that nobody can tell which they mean; with all of them against the fine-tuned model",
            after=c.result("ambiguous", base=np.where(base, 1, c.base), sft=np.where(sft, 0, c.sft)),
        )


def contradicted(c: Comparison) -> Iterator[Finding]:
    """Judgements against the known expected answer, turned round.

    Of judgements that were supplied, or of scorers that do not compare with the expected answer.
    """
    doubtful = c.judged & np.array([not p.length_free and p.verified is not False for p in c.pairs], dtype=bool)
    wrong = {m: doubtful & (c.success[m] == 1) & (c.held[m] == 0) for m in MODELS}
    right = {m: doubtful & (c.success[m] == 0) & (c.lenient[m] == 1) for m in MODELS}
    against = c.won & (wrong["sft"] | right["base"])
    if against.any():
        base, sft = (np.where(wrong[m], 0, np.where(right[m], 1, c.success[m])) for m in MODELS)
        yield Finding(
            f"in {int(against.sum())} of {c.overall.won} won pairs the judgement contradicts the expected answer: the fine-tuned "
            "model's success does not contain it, or the base's failure gives it; with such judgements of both models turned "
            "round",
            after=c.result("contradicted", base=base, sft=sft),
        )


def same_judgement(c: Comparison) -> Iterator[Finding]:
    """Pairs of one text that were judged differently, left out."""
    odd = c.judged & c.same_text & (c.base != c.sft)
    if odd.any():
        yield Finding(
            f"in {int(odd.sum())} pairs both models gave the same text, but for case, punctuation or a sentence that recurs, "
            "and were judged differently; with both as failures",
            after=c.result("same text", base=np.where(odd, 0, c.base), sft=np.where(odd, 0, c.sft)),
        )


def missing(c: Comparison) -> Iterator[Finding]:
    """Pairs that could not be judged, all against the fine-tuned model."""
    out = int((~c.judged).sum())
    if out:
        share, limit = out / len(c.pairs), c.gate.max_missing_share
        after = c.result(
            "missing", np.ones(len(c.pairs), bool), np.where(c.base < 0, 1, c.base), np.where(c.sft < 0, 0, c.sft)
        )
        yield Finding(
            f"{out} of {len(c.pairs)} pairs ({percent(share)}) are left out: {int((c.base < 0).sum())} answers of the base and "
            f"{int((c.sft < 0).sum())} of the fine-tuned model could not be judged; at most {percent(limit)} are accepted. At "
            "worst",
            "refused" if share > limit else None,
            after,
        )  # fmt: skip


# -------------------------------------------------------------------------------------------------------- restriction


def verified(c: Comparison) -> Iterator[Finding]:
    """Only the items that verifiers judged, and only those that no heuristic judged."""
    known = c.judged & (c.verified == 1)
    heuristic = c.judged & (c.verified == 0) & ~np.array([p.compared for p in c.pairs], dtype=bool)
    if not c.judged.any():
        return
    if (known == c.judged).all():
        yield Finding("verifiers judged all items against a ground truth", "pass")
        return
    if c.overall.lift > 0 and (heuristic == c.judged).all():
        yield Finding("only heuristics judged, which look for phrases and see no quality", "refused")
    elif heuristic.any():
        after = c.result("judged by no heuristic", c.judged & ~heuristic)
        p = deciding_p(after, c.gate.test)
        unsupported = c.significant(c.overall) and (after.lift <= 0 or p > c.gate.max_support_p)
        yield Finding(
            f"among the {after.n} items that were not judged by a heuristic alone (p = {p:.2g}, at most "
            f"{c.gate.max_support_p:g} supports a significant lift)",
            "refused" if unsupported else None,
            after,
        )
    elif known.any():
        yield Finding(
            f"among the {int(known.sum())} of {int(c.judged.sum())} items that verifiers judged",
            after=c.result("verified items", known),
        )
    else:
        how = (
            "success was supplied with the answers"
            if (c.verified[c.judged] < 0).all()
            else "judges compared the answers"
        )
        yield Finding(f"{how}: whether that is right is not known here. Have a sample labelled", "info")


def uncut(c: Comparison) -> Iterator[Finding]:
    """Only pairs in which no answer was stopped by the limit; a degenerate one has no end and was not."""
    stopped = np.logical_or.reduce([(c.cut[m] == 1) & ~c.repetitive[m] for m in MODELS])
    if (c.judged & stopped).any():
        yield Finding(
            "where neither answer was cut at the token limit", after=c.result("not stopped", c.judged & ~stopped)
        )
