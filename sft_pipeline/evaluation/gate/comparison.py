"""All pairs of a comparison as columns, with what the criteria ask of them; every figure is computed once."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from sft_pipeline.artifacts import Agreement, GroupResult, Preference, Sensitivity
from sft_pipeline.dataset.text import word_count
from sft_pipeline.evaluation.gate import answer_texts
from sft_pipeline.evaluation.gate.pairs import MODELS, Answer, Pair
from sft_pipeline.evaluation.scorers import numeric
from sft_pipeline.evaluation.scorers.choice import SEVERAL
from sft_pipeline.evaluation.scorers.item import Item
from sft_pipeline.evaluation.scorers.text import bare, holds, repetitive
from sft_pipeline.evaluation.statistics.clusters import cluster_p, clustered_p, with_clusters
from sft_pipeline.evaluation.statistics.paired import benjamini_hochberg, deciding_p, from_counts
from sft_pipeline.evaluation.statistics.power import with_power
from sft_pipeline.evaluation.statistics.sensitivity import sensitivity
from sft_pipeline.experiment import Gate

Mask = npt.NDArray[np.bool_]
Column = npt.NDArray[Any]

OTHERS = 10
"""Expected answers of other items of a type that are looked for in an answer: enough to see a share of half or more."""

SAMPLE = 2000
"""Pairs on which the order of the answers is examined; of a larger set the first ones."""


class Comparison:
    """Both models' outcomes on the same items.

    `base` and `sft` hold 1, 0, or -1 where an answer could not be judged, as do all columns of three values where nothing
    is known. Statistics are of the `judged` pairs unless another mask is given.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        gate: Gate,
        agreement: Agreement | None = None,
        flip_rate: float | None = None,
        preference: Preference | None = None,
    ) -> None:
        """The columns of `pairs`.

        Args:
            pairs: both answers to every item.
            gate: the criteria.
            agreement: of the scorers with human labels, where there are some.
            flip_rate: share of the items on which a repeated run of one model differed; None where it is not known.
            preference: of people, where a review was held.
        """
        self.pairs, self.gate, self.agreement, self.flip_rate = pairs, gate, agreement, flip_rate
        self.preference = preference
        self.success = self.column(lambda p, a: _three(a.success))
        self.base, self.sft = self.success["base"], self.success["sft"]
        self.judged: Mask = (self.base >= 0) & (self.sft >= 0)
        self.won: Mask = (self.sft == 1) & (self.base == 0)
        self.types = np.array([p.type for p in pairs], dtype=object)
        self.clusters = [p.cluster for p in pairs]
        self.verified = np.array([_three(p.verified) for p in pairs], dtype=np.int8)
        self.texts_known = all(a.output is not None for p in pairs for _, a in p.answers)
        self._known: dict[str, Any] = {}
        self.overall = self.result("all", spread=True)

    def column(self, of: Callable[[Pair, Answer], Any], dtype: Any = np.int8) -> dict[str, Column]:
        """A value of every answer, by model."""
        return {
            m: np.array([of(p, a) for p, a in zip(self.pairs, (getattr(p, m) for p in self.pairs))], dtype=dtype)
            for m in MODELS
        }

    def result(
        self,
        name: str,
        keep: Mask | None = None,
        base: Column | None = None,
        sft: Column | None = None,
        spread: bool = False,
    ) -> GroupResult:
        """The paired statistics of a part of the pairs, or of other outcomes of them.

        Args:
            name: of the result.
            keep: the pairs; None: those that are judged.
            base: outcomes of the base instead of its own, 1 or 0.
            sft: the same of the fine-tuned model.
            spread: with interval over clusters and power.
        """
        keep = self.judged if keep is None else keep
        b, s = ((own if other is None else other)[keep] == 1 for own, other in ((self.base, base), (self.sft, sft)))
        counts = [int(x.sum()) for x in (b & s, b & ~s, ~b & s, ~b & ~s)]
        result = from_counts(name, *counts)
        if any(c is not None for c in self.clusters):
            names = [c for c, k in zip(self.clusters, keep) if k]
            if spread:
                result = with_clusters(result, b, s, names, self.gate)
            elif len({c for c in names if c is not None}) < sum(c is not None for c in names):
                result = result.model_copy(update={"cluster_p": cluster_p(b, s, names)})
        return with_power(result, self.gate) if spread and result.n else result

    def p(self, result: GroupResult) -> float:
        """p of the deciding test, also over whole clusters."""
        return clustered_p(result, self.gate.test)

    def significant(self, result: GroupResult) -> bool:
        """Whether the fine-tuned model is found better."""
        return result.lift > 0 and self.p(result) <= self.gate.alpha

    def shows(self, result: GroupResult) -> bool:
        """Whether a lift is significant and large enough."""
        return self.significant(result) and result.lift >= self.gate.min_lift

    @cached_property
    def by_type(self) -> tuple[GroupResult, ...]:
        """The statistics of every type with a judged pair, in the order of their names."""
        masks = {name: self.judged & (self.types == name) for name in sorted(set(self.types))}
        return tuple(self.result(name, mask, spread=True) for name, mask in masks.items() if mask.any())

    @cached_property
    def adjusted_types(self) -> tuple[GroupResult, ...]:
        """The same with p-values adjusted by Benjamini–Hochberg."""
        adjusted = benjamini_hochberg([deciding_p(result, self.gate.test) for result in self.by_type])
        return tuple(t.model_copy(update={"p_adjusted": p}) for t, p in zip(self.by_type, adjusted, strict=True))

    @cached_property
    def tied(self) -> list[bool]:
        """Pairs in which a judge that compared both answers found none better."""
        return ["tie" in p.base.labels and "tie" in p.sft.labels for p in self.pairs]

    @cached_property
    def sensitivity(self) -> tuple[Sensitivity, ...]:
        """The overall result under other treatments of what could not be judged, and of ties."""
        base, sft = ([getattr(p, m).success for p in self.pairs] for m in MODELS)
        return sensitivity(base, sft, self.gate, self.tied)

    def remember(self, name: str, compute: Callable[[], Any]) -> Any:
        """A value that several criteria ask for, computed once."""
        if name not in self._known:
            self._known[name] = compute()
        return self._known[name]

    # ------------------------------------------------------------------------------------------- what the texts tell

    @cached_property
    def texts(self) -> dict[str, list[str]]:
        """The outputs, empty where unknown."""
        return {m: [getattr(p, m).output or "" for p in self.pairs] for m in MODELS}

    @cached_property
    def lengths(self) -> dict[str, dict[str, Column]]:
        """Length of every answer by unit (characters, words, tokens) and model; tokens only where all are known."""
        found: dict[str, dict[str, Column]] = {
            "characters": {m: np.array([len(t.strip()) for t in self.texts[m]]) for m in MODELS},
            "words": {m: np.array([len(t.split()) for t in self.texts[m]]) for m in MODELS},
        }
        if all(a.tokens is not None for p in self.pairs for _, a in p.answers):
            found["tokens"] = {**self.column(lambda p, a: a.tokens, np.int64)}
        return found

    @cached_property
    def cut(self) -> dict[str, Column]:
        """1 for an answer that was cut, also where nothing but its text says so; 0 for one that was not.

        What goes on with a further question had come to the end of its own answer.
        """
        said = self.column(lambda p, a: _three(a.cut))
        expected = [p.expected for p in self.pairs]
        for m in MODELS:
            if (said[m] < 0).any():
                tokens = [getattr(p, m).tokens for p in self.pairs]
                seen = np.array(answer_texts.cut_without_notice(self.texts[m], tokens, expected), dtype=bool)
                if seen.any():  # then the others were not
                    said[m] = np.where(said[m] < 0, seen & ~self.repetitive[m], said[m])
            own_end = [k for k in np.flatnonzero(said[m] == 1) if answer_texts.first_part(t := self.texts[m][k]) != t]
            said[m][own_end] = 0
        return said

    @cached_property
    def repetitive(self) -> dict[str, Column]:
        """Answers of which repeated n-grams make up over half.

        Not where the text is so by nature: the expected one is, a verifier found it right, or it is a table of signs or JSON.
        """

        def degenerate(p: Pair, a: Answer) -> bool:
            text = a.output or ""
            right = p.verified and a.success and not p.looks_for
            return not right and repetitive(text) and not repetitive(p.expected) and not _tabular(text)

        return self.column(degenerate, bool)

    @cached_property
    def words(self) -> dict[str, list[str]]:
        """The words of each answer, with a space between them."""
        return {m: [" ".join(answer_texts.words(t)) for t in texts] for m, texts in self.texts.items()}

    @cached_property
    def void(self) -> dict[str, Column]:
        """Answers that say nothing: blank, special tokens, runs of a sign, echoes, server messages, one text for all."""
        found = {}
        asked_for = self.column(lambda p, a: bool(p.verified and a.success and not p.looks_for), bool)
        asked = [answer_texts.words(p.instruction) for p in self.pairs]
        for m, texts in self.texts.items():
            void = np.array([answer_texts.says_nothing(t) for t in texts], dtype=bool)
            echoes = [
                answer_texts.echoes(said.split(), words)
                and not answer_texts.echoes(answer_texts.words(p.expected), words)
                for said, words, p in zip(self.words[m], asked, self.pairs)
            ]
            void |= np.array(echoes, dtype=bool) | np.array(answer_texts.error_messages(texts), dtype=bool)
            found[m] = void & ~asked_for[m] | self._one_for_all(m)
        return found

    def _one_for_all(self, m: str) -> Mask:
        """Where one text goes to over half of the items and to as many of those that expect another answer.

        It stands for the expected answer at which it succeeds most often: "It is B." for B. Of the base only a text counts
        that is right less than once in twenty times, since small ones honestly have a favourite choice.
        """
        plain = [bare(t) for t in self.texts[m]]
        [(most, count)] = Counter(plain).most_common(1) or [("", 0)]
        if count < 2 or 2 * count <= len(plain):
            return np.zeros(len(plain), bool)
        given = np.array([t == most for t in plain], dtype=bool)
        right = given & (self.success[m] == 1)
        expected = [bare(p.expected) for p in self.pairs]
        met = Counter(e for e, r, h in zip(expected, right, self.held[m]) if r and e and h != 0)
        answer = met.most_common(1)[0][0] if met else None
        other = np.array([answer is None or e != answer for e in expected], dtype=bool)
        n, wrong = len(plain), int((given & other).sum())
        asked_for = wrong <= max(other.sum() / 2, n / 10) or (m == "base" and 20 * right.sum() >= count)
        return np.zeros(n, bool) if asked_for else given

    @cached_property
    def lenient(self) -> dict[str, Column]:
        """1 for an answer that is right without what stands around it; -1 where that is not known.

        Of a supplied judgement the part up to a further question is read: its number, or its last line.
        """

        def right(p: Pair, a: Answer) -> int:
            if p.verified is not None or not p.expected or a.success:
                return _three(a.lenient)
            part = answer_texts.first_part(a.output or "")
            if not any(sign.isalpha() for sign in p.expected) and any(sign.isdigit() for sign in p.expected):
                return int(bool(numeric.score(Item(p.id, "", p.expected, p.type), part, {}).success))
            return int(bare(part.rstrip().rpartition("\n")[2]) == bare(p.expected))

        return self.column(right)

    @cached_property
    def held(self) -> dict[str, Column]:
        """1 where an output holds the expected answer, 0 where not; -1 where there is no short one to look for.

        That a failed answer holds it tells something only where failed answers of the same type and model do not hold those
        of other items as often: reasoning over choices names them all.
        """
        found = self.column(self._holds)
        sure = self.column(lambda p, a: bool((p.verified and a.success) or a.lenient), bool)
        for m in MODELS:
            failed = (self.success[m] == 0) & (found[m] >= 0) & ~sure[m]
            for name in set(self.types[failed & (found[m] == 1)]):
                of_type = np.flatnonzero(failed & (self.types == name))
                held = looked = 0
                for k in of_type[:: max(1, len(of_type) // 500)]:
                    text = self.pairs[k].answer_part(getattr(self.pairs[k], m))
                    others = [o for o in self._others[name] if bare(o) != bare(self.pairs[k].expected)]
                    held, looked = held + sum(holds(text, o) for o in others), looked + len(others)
                if looked and held / looked >= self.gate.contained_by_chance * (found[m][of_type] == 1).mean():
                    found[m] = np.where(failed & (self.types == name) & (found[m] == 1), -1, found[m])
        return found

    def _holds(self, p: Pair, a: Answer) -> int:
        if (p.verified and a.success) or a.lenient:
            return 1
        size = word_count(p.expected)
        if not 0 < size <= self.gate.expected_words:
            return -1
        # A longer answer may be said in other words, so that its absence proves nothing where no verifier judged.
        found = holds(p.answer_part(a), p.expected)
        return int(found) if found or p.verified or size <= self.gate.certain_words else -1

    @cached_property
    def _others(self) -> dict[str, list[str]]:
        """Some expected answers of each type, evenly spread."""
        found: dict[str, dict[str, str]] = {}
        for p in self.pairs:
            if 0 < word_count(p.expected) <= self.gate.expected_words:
                found.setdefault(p.type, {})[bare(p.expected)] = p.expected
        ordered = {name: sorted(answers.values()) for name, answers in found.items()}
        return {
            name: o if len(o) <= OTHERS else [o[k * len(o) // OTHERS] for k in range(OTHERS)]
            for name, o in ordered.items()
        }

    @cached_property
    def ambiguous(self) -> dict[str, Column]:
        """Answers that name the right one among others, so that their scorer cannot tell which is meant."""

        def unclear(p: Pair, a: Answer) -> bool:
            if SEVERAL in a.labels:
                return True
            if not a.success or not (p.chooses or p.looks_for):
                return False
            others = [o for o in self._others.get(p.type, ()) if bare(o) != bare(p.expected)]
            if p.chooses:
                return answer_texts.hedges(a.output or "", others)
            text = p.answer_part(a)
            named = sum(holds(text, o) for o in others)
            return 2 * named > len(others) > 0 or answer_texts.enumerates(text, p.expected, others)

        return self.column(unclear, bool)

    @cached_property
    def same_text(self) -> Mask:
        """Pairs of one text; where no verifier judged also if only case, punctuation or a recurring addition differ."""
        equal = np.array([bool(a) and a == b for a, b in zip(self.texts["base"], self.texts["sft"])], dtype=bool)
        words = list(zip(self.words["base"], self.words["sft"]))
        return equal | ((self.verified < 1) & np.array(answer_texts.same_but_for_addition(words), dtype=bool))

    @cached_property
    def readable(self) -> dict[str, Column]:
        """Answers in which their scorer found an answer, also without what stands around it.

        Where a scorer asks for a format (`format_failure`) to lack it is a wrong answer and not an unreadable one.
        """
        return self.column(lambda p, a: a.readable or a.lenient is True or "format_failure" in a.labels, bool)


def _three(value: bool | None) -> int:
    return -1 if value is None else int(value)


def _tabular(text: str) -> bool:
    """Whether most words are of one sign or numbers, as in a grid or a table, or the text is whole JSON."""
    parts = text.split()
    if text.strip()[:1] in ("{", "[") and text.strip()[-1] in "}]":
        try:
            return bool(json.loads(text))
        except (ValueError, RecursionError):
            pass
    return 2 * sum(len(part) == 1 or not any(s.isalpha() for s in part) for part in parts) > len(parts)
