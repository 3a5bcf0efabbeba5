"""From rows to token ids and labels: loss on the response and its end, and nowhere else.

The rows are encoded here, with the clean tokenizer, and not by TRL, which would add a beginning-of-sequence token where
the tokenizer has one. The prompt is encoded exactly as it is when the model is asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sft_pipeline.errors import ModelError, TrainingError
from sft_pipeline.experiment import Experiment
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
    """

    examples: list[dict[str, list[int]]]
    ids: list[str]
    truncated: list[str]
    masked: list[str]
    merged: list[str]

    @property
    def lengths(self) -> list[int]:
        """Tokens of each example."""
        return [len(example["input_ids"]) for example in self.examples]


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
                raise ModelError(f"{_place(row)}: {error}") from error
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
                f"{_place(row)}: the response holds the end-of-sequence token; the model would learn to stop there. Name its "
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
        f"{_place(row)}: this tokenizer cannot begin a response where the prompt ends: tokens merge there, and apart they give "
        "another text. End prompt.template without a space and begin prompt.response_prefix with it."
    )


def _place(row: Mapping[str, Any]) -> str:
    return f"row {row['id']} ({row['source_file']}, row {row['source_row']})"


def lengths(
    experiment: Experiment, tokenizer: CleanTokenizer, rows: Sequence[Mapping[str, Any]]
) -> list[tuple[int, int]]:
    """Tokens of prompt and of response with its end for each row, uncut: what a plan needs."""
    return [(len(prompt), len(completion)) for prompt, completion, _ in _pieces(experiment, tokenizer, rows)]


def encode(experiment: Experiment, tokenizer: CleanTokenizer, rows: Sequence[Mapping[str, Any]]) -> Encoded:
    """Encode rows (of dataset/table.py), cut at `training.max_length`.

    Raises:
        ModelError: a text holds a chat-template token.
        TrainingError: a response holds the end-of-sequence token.
    """
    limit = experiment.training.max_length
    encoded = Encoded([], [], [], [], [])
    for row, (prompt, completion, merged) in zip(rows, _pieces(experiment, tokenizer, rows), strict=True):
        if len(prompt) + len(completion) > limit:
            encoded.truncated.append(row["id"])
        if merged:
            encoded.merged.append(row["id"])
        if len(prompt) >= limit:
            encoded.masked.append(row["id"])
            continue
        labels = [IGNORED] * len(prompt) + completion
        encoded.examples.append({"input_ids": (prompt + completion)[:limit], "labels": labels[:limit]})
        encoded.ids.append(row["id"])
    return encoded
