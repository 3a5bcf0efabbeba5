"""What the model is asked for a row, by the experiment's prompt format."""

from collections.abc import Mapping, Sequence
from typing import Any

from sft_pipeline.errors import ModelError
from sft_pipeline.experiment import Experiment
from sft_pipeline.model.chat_template import ChatTemplate, Unfit
from sft_pipeline.model.conversation import Conversation, of_row, shortened
from sft_pipeline.model.tokenizer import CleanTokenizer


def prompts(
    experiment: Experiment, tokenizer: CleanTokenizer, rows: Sequence[Mapping[str, Any]], context: int | None
) -> list[str]:
    """The prompt for the answer of each row; of a conversation that of its last one.

    Args:
        experiment: gives the format.
        tokenizer: the one that was loaded for it.
        rows: with the columns of `table.asked`.
        context: longest sequence of the model, for conversations that are shortened to it.

    Raises:
        ModelError: the chat template cannot write a row; names the file and the row.
    """
    if tokenizer.chat is None:
        return [experiment.prompt.render(row["instruction"]) for row in rows]
    room = None if context is None else context - experiment.generation.max_new_tokens
    found: list[str] = []
    for row in rows:
        conversation = of_row(row)
        try:
            asked = tokenizer.chat.prompt(conversation)
            if experiment.prompt.chat.keep_turns == "last" and room is not None:
                shorter = shortened(conversation, "last")
                while tokenizer.count([asked])[0] > room and (left := next(shorter, None)):
                    asked = tokenizer.chat.prompt(left)
        except Unfit as reason:
            raise ModelError(f"{place(row)}: {reason}") from reason
        found.append(asked)
    return found


def with_examples(template: ChatTemplate, examples: Sequence[Mapping[str, Any]], row: Mapping[str, Any]) -> str:
    """The prompt of a row with the exchanges of other rows before its own; what these think and their systems say is left out.

    Raises:
        ModelError: the chat template cannot write it.
    """
    own = of_row(row)
    shown = [
        {name: value for name, value in message.items() if name != "reasoning_content"}
        for example in examples
        for message in of_row(example).messages
        if message["role"] != "system"
    ]
    system = sum(message["role"] == "system" for message in own.messages[:1])
    try:
        return template.prompt(
            Conversation([*own.messages[:system], *shown, *own.messages[system:]], own.tools, last=True)
        )
    except Unfit as reason:
        ids = ", ".join(str(example["id"]) for example in examples)
        raise ModelError(f"{place(row)}, with the examples {ids}: {reason}") from reason


def unwritable(template: ChatTemplate, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each row why the chat template cannot write it; empty where it can."""
    found = []
    for row in rows:
        try:
            template.write(of_row(row))
            found.append("")
        except Unfit as reason:
            found.append(str(reason))
    return found


def place(row: Mapping[str, Any]) -> str:
    """Where a row came from, as far as it says so."""
    source = f" ({row['source_file']}, row {row['source_row']})" if "source_file" in row else ""
    return f"row {row['id']}{source}"
