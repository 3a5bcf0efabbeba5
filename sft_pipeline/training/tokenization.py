"""From rows to token ids and labels: loss on the response and its end, and nowhere else.

The rows are encoded here, with the clean tokenizer, and not by TRL, which would add a beginning-of-sequence token where
the tokenizer has one. The prompt is encoded exactly as it is when the model is asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sft_pipeline.errors import TrainingError
from sft_pipeline.experiment import Experiment
from sft_pipeline.model.loader import CleanTokenizer

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
    asked = tokenizer.encode_all(prompts)
    together = tokenizer.encode_all([p + r for p, r in zip(prompts, responses, strict=True)])
    alone = tokenizer.encode_all(responses)
    pieces = []
    for row, prompt, whole, response in zip(rows, asked, together, alone, strict=True):
        merged = whole[: len(prompt)] != prompt
        completion = response if merged else whole[len(prompt) :]
        if completion[-1:] == [tokenizer.end]:
            completion = completion[:-1]
        if tokenizer.end in completion:
            raise TrainingError(
                f"row {row['id']} ({row['source_file']}, row {row['source_row']}): the response holds the "
                "end-of-sequence token; the model would learn to stop there. Name its text in data.quality.delimiters."
            )
        pieces.append((prompt, [*completion, tokenizer.end], merged))
    return pieces


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
