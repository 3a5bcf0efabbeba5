"""Rows that nothing may leak into, indexed for every tier of the comparison with training rows."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sft_pipeline.dataset.arrays import Positions
from sft_pipeline.dataset.duplicates.shared_text import SharedText
from sft_pipeline.dataset.duplicates.shingles import word_hashes
from sft_pipeline.dataset.leakage.batch import Batch, Forms
from sft_pipeline.dataset.leakage.containment import SHORTEST, Grams
from sft_pipeline.dataset.leakage.overlap import Overlaps
from sft_pipeline.dataset.text import normalise, words
from sft_pipeline.experiment import Data

if TYPE_CHECKING:
    from sft_pipeline.dataset.leakage.semantic import Embed


_CUT = re.compile(r"(?<=[.:;!?\])>}|])\s+|\s+(?=[\[(<{#|])|(?<=[.:!?])(?=[\[<])|(?<=[\]>])(?=\w)")
"""Where a sentence, a label or a mark inside of a line ends."""


class Near(NamedTuple):
    """Training rows and the held-out rows that they resemble; a pair may come more than once."""

    row: Positions
    held: Positions
    similarity: npt.NDArray[np.float64]
    exact: npt.NDArray[np.bool_]


class HeldOutIndex:
    """The held-out rows (id, instruction, group) of one comparison; the training rows come later.

    `rows` and all that goes by position is in the order of the texts: what is decided by position does not depend on
    the order in which the rows were given.
    """

    def __init__(
        self,
        rows: Sequence[Mapping[str, Any]],
        data: Data,
        shared: SharedText,
        least: float,
        *,
        embed: "Embed | None" = None,
        benchmarks: bool = False,
    ) -> None:
        """Index `rows`; Jaccard similarities below `least` are not looked for.

        Args:
            rows: the held-out rows.
            data: the specification's data section.
            shared: what many rows of both sides have in common.
            least: see above.
            embed: sentence embeddings, for the semantic tier.
            benchmarks: whether the rows are items of the benchmarks that their `group` names, of which boilerplate is
                left out.

        Raises:
            ValueError: the specification asks for the semantic tier and `embed` is missing.
        """
        if data.leakage.semantic and embed is None:
            raise ValueError("data.leakage.semantic is on: pass embed=semantic.load(...)")
        self._shared = shared
        self.rows = sorted(rows, key=_content)
        self.texts: list[str] = [row["instruction"] for row in self.rows]
        self.normal = [normalise(text) for text in self.texts]
        whole = word_hashes(self.texts)
        self._forms = Forms(self.texts, whole, shared, data.duplicates.ngram)
        self.overlaps = Overlaps(self._forms.sets, least)
        self.groups: dict[str, list[int]] = defaultdict(list)
        for position, row in enumerate(self.rows):
            if row["group"] is not None and not benchmarks:
                self.groups[row["group"]].append(position)
        # What identifies an item is its own part; where that is too short to be looked for, the whole.
        shortest = min(SHORTEST, data.leakage.containment_ngram)
        identifying, self.left_out = list(self.texts), Counter[str]()
        """Items by the text that they share with many rows, whose n-grams do not identify them."""
        for position, part in zip(self._forms.of[len(self.texts) :].tolist(), self._forms.parts):
            if len(words(part.text)) >= shortest:
                identifying[position] = part.text
                self.left_out[part.shared] += 1
        self._framed: dict[int, list[str]] = {}
        for position, text in enumerate(identifying):
            for sentence, before, after in _sentences(text):
                if 0 < len(words(sentence)) < shortest and shared.is_frame(before, after):
                    identifying[position], self._framed[position] = sentence, words(sentence)
        names = [row["group"] for row in self.rows] if benchmarks else None
        self.grams = Grams(word_hashes(identifying), data.leakage.containment_ngram, names)
        self.embed = embed if data.leakage.semantic else None
        self.vectors = self.embed(self.texts) if self.embed and self.texts else None

    def resembling(self, theirs: Forms) -> Iterator[Near]:
        """The instructions that resemble held-out ones, in portions.

        Two instructions that share the same text with many others are compared without it. Otherwise one is compared
        with the other as a whole, and without its shared text with the other's whole: a system message before a question
        hides no copy of it, and does not make two questions alike.
        """
        ours = self._forms
        for form, held, similarity in self.overlaps.matches(theirs.sets):
            same = (theirs.family[form] == ours.family[held]) & (theirs.family[form] != 0)
            both, none = theirs.own[form] & ours.own[held], ~theirs.own[form] & ~ours.own[held]
            valid = np.where(same, both, none)
            valid |= theirs.own[form] & ~ours.own[held] & (ours.family[held] == 0)
            valid |= ~theirs.own[form] & ours.own[held] & (theirs.family[form] == 0)
            form, held, similarity = form[valid], held[valid], similarity[valid]
            exact = np.zeros(len(form), bool)
            for one in np.flatnonzero(similarity == 1).tolist():
                exact[one] = normalise(theirs.text(int(form[one]))) == normalise(ours.text(int(held[one])))
            yield Near(theirs.of[form], ours.of[held], similarity, exact)

    def near(self, batch: Batch) -> Iterator[Near]:
        """The same, and the very short items that are a line of an instruction."""
        yield from self.resembling(batch.forms)
        if parts := [pair for pair in self.grams.parts(batch.words, batch.asked) if self._is_line(batch, *pair)]:
            row, held = np.array(parts, np.int64).T
            exact = [any(line == self.normal[h] for line in _lines(batch.texts[r])) for r, h in parts]
            yield Near(row, held, np.ones(len(row)), np.array(exact))

    def _is_line(self, batch: Batch, row: int, held: int) -> bool:
        """Whether a very short item is a part of a conversation.

        That is a whole line of an instruction that has several, or the sentence inside of a frame that many lines share
        ("[INST] Who was Newton? [/INST]", "User: Who was Newton?").
        """
        text, framed = batch.texts[row], held in self._framed
        item = self._framed[held] if framed else words(self.texts[held])
        for line in text.splitlines():
            if (framed or "\n" in text) and words(line) == item:
                return True
            for sentence, before, after in _sentences(line):
                if words(sentence) == item and self._shared.is_frame(before, after):
                    return True
        return False

    def cosines(self, batch: Batch) -> npt.NDArray[np.float64]:
        """Cosine similarity of every row of `batch` with every held-out row, to four decimals.

        Beyond those it depends on the size of the blocks that are multiplied.
        """
        assert self.embed is not None and self.vectors is not None
        return (self.embed(batch.texts) @ self.vectors.T).astype(float).round(4)


def _sentences(line: str) -> Iterator[tuple[str, str, str]]:
    """The parts of a line that has several, each with what stands before and after it."""
    cuts = [0, *(found.end() for found in _CUT.finditer(line)), len(line)]
    if len(cuts) > 2 and "\n" not in line:
        yield from ((line[start:end], line[:start], line[end:]) for start, end in zip(cuts, cuts[1:]))


def _lines(text: str) -> Iterator[str]:
    return map(normalise, text.splitlines())


def _content(row: Mapping[str, Any]) -> tuple[str, ...]:
    return normalise(row["instruction"]), row["instruction"], row["group"] or "", row["id"], str(row.get("source_row"))
