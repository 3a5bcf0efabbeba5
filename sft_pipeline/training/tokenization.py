"""From rows to token ids and labels: loss on the response and its end, and nowhere else.

The rows are encoded here, with the clean tokenizer, and not by TRL, which would add a beginning-of-sequence token where
the tokenizer has one. The prompt is encoded exactly as it is when the model is asked. Of a conversation every answer of the
assistant carries loss, with the token that ends it.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple

from sft_pipeline.errors import ModelError, TrainingError
from sft_pipeline.experiment import Experiment
from sft_pipeline.model.chat_template import Rendered, Unfit, Written
from sft_pipeline.model.conversation import Conversation, of_row, shortened
from sft_pipeline.model.prompts import place
from sft_pipeline.model.tokenizer import CleanTokenizer

IGNORED = -100
"""Label of a position without loss, as PyTorch's cross entropy has it."""


@dataclass(frozen=True)
class Encoded:
    """Encoded rows of a split.

    Attributes:
        examples: `input_ids` and `labels` of each row that is not fully masked.
        ids: row id of each example.
        truncated: ids of the rows cut at `max_length`.
        masked: ids of the fully masked rows; they are left out of `examples`.
        merged: ids of the rows in which tokens would merge across the border of prompt and response.
        shortened: ids of the conversations of which exchanges were left out, see prompt.chat.keep_turns.
        answers: answers that each example teaches, uncut.
    """

    examples: list[dict[str, list[int]]]
    ids: list[str]
    truncated: list[str]
    masked: list[str]
    merged: list[str]
    shortened: list[str] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each example."""
        return [len(example["input_ids"]) for example in self.examples]


class _Piece(NamedTuple):
    """A row as token ids and labels, uncut."""

    ids: list[int]
    labels: list[int]
    merged: bool
    answers: int = 1
    shortened: bool = False

    @property
    def prompt(self) -> int:
        """Tokens before the first that carries loss."""
        return next((at for at, label in enumerate(self.labels) if label != IGNORED), len(self.labels))


def _encoded(experiment: Experiment, tokenizer: CleanTokenizer, rows: Sequence[Mapping[str, Any]]) -> Iterator[_Piece]:
    if tokenizer.chat is None:
        for prompt, completion, merged in _pieces(experiment, tokenizer, rows):
            yield _Piece(prompt + completion, [IGNORED] * len(prompt) + completion, merged)
        return
    keep, limit = experiment.prompt.chat.keep_turns, experiment.training.max_length
    for row in rows:
        conversation = of_row(row)
        piece = _conversation(tokenizer, row, conversation)
        if len(piece.ids) > limit and keep != "all":
            for shorter in shortened(conversation, keep):
                if not shorter.answers:
                    continue
                found = _conversation(tokenizer, row, shorter)
                if len(found.ids) <= limit:
                    piece = found._replace(shortened=True)
                    break
        yield piece


def _conversation(tokenizer: CleanTokenizer, row: Mapping[str, Any], conversation: Conversation) -> _Piece:
    """A conversation; loss on its answers."""
    assert tokenizer.chat is not None
    try:
        written = tokenizer.chat.write(conversation)
    except Unfit as reason:
        raise TrainingError(f"{place(row)}: {reason}") from reason
    try:
        (ids,), (offsets,) = tokenizer.continuations([written.text]), tokenizer.offsets([written.text])
    except ModelError as error:
        raise ModelError(f"{place(row)}: {error}") from error
    starts = [start for start, _ in offsets]
    labels = [IGNORED] * len(ids)
    for start, end in written.answers:
        first = bisect_right(starts, start - 1)
        if first and offsets[first - 1][1] > start or not _same_prompt(tokenizer, written, ids, offsets, first, start):
            return _apart(tokenizer, row, written, ids)
        last = bisect_right(starts, end - 1)
        labels[first:last] = ids[first:last]
    return _Piece(ids, labels, False, len(written.answers))


def _same_prompt(
    tokenizer: CleanTokenizer,
    written: Written,
    ids: list[int],
    offsets: Sequence[tuple[int, int]],
    first: int,
    start: int,
) -> bool:
    """Whether the prompt alone has the tokens with which the conversation begins.

    Added tokens divide a text, so that only what follows the last of them has to be looked at.
    """
    at = first
    while at and ids[at - 1] not in tokenizer.added:
        at -= 1
    begin = offsets[at][0] if at < first else start
    return at == first or tokenizer.continuations([Rendered(written.text[begin:start])])[0] == ids[at:first]


def _apart(tokenizer: CleanTokenizer, row: Mapping[str, Any], written: Written, whole: list[int]) -> _Piece:
    """The same, each answer and what stands between them encoded by itself, so that no token crosses a border.

    Raises:
        TrainingError: the parts together give another text.
    """
    borders = [0, *(at for span in written.answers for at in span), len(written.text)]
    parts = [Rendered(written.text[a:b]) for a, b in zip(borders, borders[1:])]
    ids, labels = list[int](), list[int]()
    for number, part in enumerate(tokenizer.continuations(parts)):
        ids += part
        labels += part if number % 2 else [IGNORED] * len(part)
    if tokenizer.decode(ids, special=True) != tokenizer.decode(whole, special=True):
        raise TrainingError(
            f"{place(row)}: with this tokenizer tokens merge where an answer begins, and apart they give another text: the "
            "chat template does not suit the tokenizer"
        )
    return _Piece(ids, labels, True, len(written.answers))


def _pieces(
    experiment: Experiment, tokenizer: CleanTokenizer, rows: Sequence[Mapping[str, Any]]
) -> list[tuple[list[int], list[int], bool]]:
    """Ids of prompt and of response with its end, and whether tokens would merge across the border.

    Prompt and response are encoded together, because some tokenizers begin every text with a space. Where the prompt's
    own tokens are then not the beginning, the response is encoded by itself: the model must see in training the very
    prompt that it is asked with.
    """
    prompts = [experiment.prompt.render(row["instruction"]) for row in rows]
    responses = [experiment.prompt.response_prefix + row["response"] for row in rows]
    try:
        asked = tokenizer.encode_all(prompts)
        together = tokenizer.sequences([p + r for p, r in zip(prompts, responses, strict=True)])
        alone = tokenizer.continuations(responses)
    except ModelError:
        for row, before, after in zip(rows, prompts, responses, strict=True):  # one by one, to name the row
            try:
                tokenizer.encode(before)
                tokenizer.sequences([before + after])
            except ModelError as error:
                raise ModelError(f"{place(row)}: {error}") from error
        raise
    pieces = []
    for row, prompt, whole, response, ids in zip(rows, asked, together, responses, alone, strict=True):
        merged = whole[: len(prompt)] != prompt
        completion = whole[len(prompt) :]
        if merged:
            completion = _border(tokenizer, row, prompt, whole, response, ids)
        if completion[-1:] == [tokenizer.end]:
            completion = completion[:-1]
        if tokenizer.end in completion:
            raise TrainingError(
                f"{place(row)}: the response holds the end-of-sequence token; the model would learn to stop there. Name its "
                "text in data.quality.delimiters."
            )
        pieces.append((prompt, [*completion, tokenizer.end], merged))
    return pieces


def _border(
    tokenizer: CleanTokenizer,
    row: Mapping[str, Any],
    prompt: list[int],
    whole: list[int],
    response: str,
    alone: list[int],
) -> list[int]:
    """Ids of a response whose first token would merge with the prompt's last, so that the text stays what it was.

    By itself a SentencePiece tokenizer begins the response with a space of its own; after a line break it does not.

    Raises:
        TrainingError: no encoding of the response gives back the row's text.
    """
    text = tokenizer.decode(whole, special=True)
    line_break, after = tokenizer.continuations(["\n", "\n" + response])
    for completion in (alone, after[len(line_break) :]):
        if tokenizer.decode(prompt + completion, special=True) == text:
            return completion
    raise TrainingError(
        f"{place(row)}: this tokenizer cannot begin a response where the prompt ends: tokens merge there, and apart they give "
        "another text. End prompt.template without a space and begin prompt.response_prefix with it."
    )


def runs(example: Mapping[str, list[int]]) -> Iterator[tuple[list[int], bool]]:
    """The parts of an example that carry loss and those that do not, in turn."""
    pairs = zip(example["input_ids"], example["labels"], strict=True)
    for loss, part in groupby(pairs, key=lambda pair: pair[1] != IGNORED):
        yield [token for token, _ in part], loss


def answers(example: Mapping[str, list[int]]) -> Iterator[tuple[list[int], list[int]]]:
    """For each answer of an example all tokens before it, and its own."""
    before: list[int] = []
    for ids, loss in runs(example):
        if loss:
            yield before, ids
        before = before + ids


def lengths(
    experiment: Experiment, tokenizer: CleanTokenizer, rows: Sequence[Mapping[str, Any]]
) -> list[tuple[int, int]]:
    """Tokens of prompt and of response with its end for each row, uncut: what a plan needs.

    Of a conversation the prompt is what stands before its first answer.
    """
    return [(p.prompt, len(p.ids) - p.prompt) for p in _encoded(experiment, tokenizer, rows)]


def encode(experiment: Experiment, tokenizer: CleanTokenizer, rows: Sequence[Mapping[str, Any]]) -> Encoded:
    """Encode rows (of dataset/table.py), cut at `training.max_length`.

    Raises:
        ModelError: a text holds a chat-template token.
        TrainingError: a response holds the end-of-sequence token; or a conversation cannot be written by the chat template.
    """
    limit = experiment.training.max_length
    encoded = Encoded([], [], [], [], [])
    for row, piece in zip(rows, _encoded(experiment, tokenizer, rows), strict=True):
        if len(piece.ids) > limit:
            encoded.truncated.append(row["id"])
        if piece.merged:
            encoded.merged.append(row["id"])
        if piece.shortened:
            encoded.shortened.append(row["id"])
        if piece.prompt >= limit:
            encoded.masked.append(row["id"])
            continue
        encoded.examples.append({"input_ids": piece.ids[:limit], "labels": piece.labels[:limit]})
        encoded.ids.append(row["id"])
        encoded.answers.append(piece.answers)
    return encoded
