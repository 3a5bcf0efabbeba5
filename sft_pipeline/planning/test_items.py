"""The test items before the training: can the base be asked each of them, and could the gate judge the answer?

Nothing else checks them before the gate does, and a fault that shows only then has cost a training.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sft_pipeline.artifacts import InstructionDataset, ModelSnapshot
from sft_pipeline.dataset.table import read_table
from sft_pipeline.errors import DataError, ModelError
from sft_pipeline.evaluation.scoring.score import PAIRWISE, score_items, scorer_for
from sft_pipeline.experiment import Evaluation, Experiment
from sft_pipeline.model.completion import context_length
from sft_pipeline.model.loader import load_config
from sft_pipeline.model.prompts import prompts as prompts_of
from sft_pipeline.model.tokenizer import CleanTokenizer

ELSEWHERE = PAIRWISE | {"judgements"}
"""Scorers that ask another model or look up what exists only for answers."""


def check(experiment: Experiment, base: ModelSnapshot, test: InstructionDataset, tokenizer: CleanTokenizer) -> None:
    """Encode the prompt of each test item, and judge its own response.

    Raises:
        SpecificationError: a type of item has no scorer, or one whose options cannot be used.
        DataError: a scorer cannot judge an item: its reference is not what the scorer needs.
        ModelError: a prompt cannot be encoded, or leaves no room for an answer.
    """
    rows = read_table(test.path(InstructionDataset.ROWS))
    _judge(rows, experiment.evaluation)
    _encode(rows, experiment, tokenizer, context_length(load_config(base.root)))


def _judge(rows: Sequence[Mapping[str, Any]], evaluation: Evaluation) -> None:
    kinds = {type: scorer_for(type, evaluation.scorers).kind for type in sorted({row["type"] for row in rows})}
    # Where code may not be run its items are refused before any is judged; where it may, running it takes long.
    skipped = ELSEWHERE | ({"code"} if evaluation.run_code else set())
    chosen = [row for row in rows if kinds[row["type"]] not in skipped]
    answers = {row["id"]: row["response"] for row in chosen}
    try:
        score_items(chosen, answers, evaluation, Path())  # none of these scorers reads a file
    except DataError:
        _name_item(chosen, answers, evaluation)
        raise


def _name_item(rows: Sequence[Mapping[str, Any]], answers: Mapping[str, str], evaluation: Evaluation) -> None:
    """Judge them again one by one, to name an item that cannot be judged and how many of its type cannot."""
    failed: dict[str, list[tuple[Mapping[str, Any], DataError]]] = {}
    for row in rows:
        try:
            score_items([row], answers, evaluation, Path())
        except DataError as error:
            failed.setdefault(row["type"], []).append((row, error))
    for type, items in failed.items():
        row, problem = items[0]
        raise DataError(
            f"{row['source_file']}, row {row['source_row']}: {problem} {len(items)} of the "
            f"{sum(row['type'] == type for row in rows)} test items of type {type} cannot be judged."
        ) from problem


def _encode(
    rows: Sequence[Mapping[str, Any]], experiment: Experiment, tokenizer: CleanTokenizer, context: int | None
) -> None:
    prompts = prompts_of(experiment, tokenizer, rows, context)
    try:
        encoded = tokenizer.encode_all(prompts)
    except ModelError:
        for row, prompt in zip(rows, prompts, strict=True):  # again one by one, to name the item
            try:
                tokenizer.encode(prompt)
            except ModelError as error:
                raise ModelError(f"{_place(row)}: {error}") from error
        raise
    for row, ids in zip(rows, encoded, strict=True):
        if not ids:
            raise ModelError(f"{_place(row)}: its prompt is empty. Remove the row, or give it an instruction.")
    full = [i for i, ids in enumerate(encoded) if context is not None and len(ids) >= context]
    if full:
        raise ModelError(
            f"{_place(rows[full[0]])}: its prompt of {len(encoded[full[0]])} tokens leaves no room for an answer in the "
            f"model's context of {context} tokens ({len(full)} items are as long). Remove such items, or "
            + ("declare prompt.chat.keep_turns: last." if tokenizer.chat else "shorten the prompt format.")
        )


def _place(row: Mapping[str, Any]) -> str:
    return f"test item {row['id']} ({row['source_file']}, row {row['source_row']}), field instruction"
