"""The answers of a conversation as items of a test split, each with all that was said before it."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sft_pipeline.dataset import table
from sft_pipeline.dataset.leakage.containment import SHORTEST
from sft_pipeline.dataset.text import normalise, words
from sft_pipeline.model.conversation import of_row, texts, turns


def turn_items(rows: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """The rows (table.ROW or table.TALK), where those with a conversation are replaced by a row for each answer.

    They share a group, by which the gate takes them together: that of the row, or its id. The row's reference is that of the
    last answer. A greeting, of fewer words than an item needs to be looked for in training rows, is left out where there
    are other answers; and so is an answer that another conversation of the split has after the same messages.
    """
    seen = set()
    for row in rows:
        found = list(turns(of_row(row))) if row.get("conversation") else []
        for number, turn in enumerate(found, 1):
            instruction, response = texts(turn.messages, len(turn.messages) - 1)
            if len(words(instruction)) < SHORTEST and len(found) > 1:
                continue
            made = {
                **row,
                "instruction": instruction,
                "response": response,
                "group": row["group"] or row["id"],
                "reference": row.get("reference") if number == len(found) else None,
                "conversation": turn.to_json(),
            }
            made["id"] = table.id_of(made)
            if made["id"] not in seen:
                seen.add(made["id"])
                yield made
        if not found:
            yield dict(row)


def questions(row: Mapping[str, Any], least: int) -> Iterator[str]:
    """What a user says in a row, in at least `least` words, in normal form."""
    messages = json.loads(row["conversation"])["messages"] if row.get("conversation") else ()
    said = [message["content"] for message in messages if message["role"] == "user"]
    yield from (normalise(text) for text in said or [row["instruction"]] if len(words(text)) >= least)
