"""Reads anybody's outputs of a model, and anybody's items: JSON Lines, joined by id and never by position."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sft_pipeline.errors import DataError
from sft_pipeline.evaluation.inputs.jsonl import Row, rows
from sft_pipeline.provenance.hashing import canonical_json

_FOREIGN = ("response", "completion", "prediction", "generation", "text", "answer", "model_output")
"""Fields that may hold an output in somebody's file; which of them does is not for us to guess."""

_CUT = {
    *("length", "max_length", "model_length", "length_capped", "limit", "truncated", "token_limit"),
    *("max_tokens", "max_new_tokens", "max_output_tokens", "max_completion_tokens", "max_tokens_reached"),
    *("model_context_window_exceeded", "context_length_exceeded", "context_length", "max_context_length"),
}
_ENDED = {
    *("stop", "stopped", "stop_sequence", "stop_string", "stop_str", "stop_token", "stop_criteria", "word"),
    *("eos", "eos_token", "eos_token_id", "eos_found", "end_turn", "end_of_turn", "end_of_text", "endoftext", "eot"),
    *("complete", "completed", "finish", "finished", "tool_calls", "tool_call", "tool_use", "function_call"),
}
"""Words of engines and services for an answer cut at the limit of tokens, and for one that ended by itself."""


@dataclass(frozen=True, slots=True)
class Output:
    """One row of a file of outputs.

    Attributes:
        id: a number is taken as its digits.
        row: line of the file, from 1.
        judged: whether the row has a field success at all.
        success: None where the row is not judged, or where whoever judged could not tell (null).
        output: the model's answer; None where the row has none.
        tokens: generated tokens, where the row says it.
        cut: whether finish_reason says that the limit of tokens cut the answer; None where the row does not say it.
        unknown_finish: a finish_reason that is no known word, so that it tells nothing.
        prompt: what the model was given, as JSON; None where the row does not say it.
        item: what the row says of its item: type, instruction, group, reference (JSON text).
        asked: other fields that may belong to the question (jsonl.py).
        settings: how the answer was made, as far as the row says it (jsonl.py).
    """

    id: str
    row: int
    judged: bool
    success: bool | None
    output: str | None
    tokens: int | None = None
    cut: bool | None = None
    unknown_finish: str | None = None
    prompt: str | None = None
    item: Mapping[str, str] = field(default_factory=dict)
    asked: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def type(self) -> str | None:
        """Type of the item, where the row says it."""
        return self.item.get("type")


def read_outputs(path: Path) -> list[Output]:
    """The rows of a file of outputs: `id`, `output`, and where known `success`, `type` and more of the item.

    Raises:
        DataError: names file, row and field of what cannot be used, or the ids that stand twice.
    """
    found = [_output(row) for row in rows(path)]
    _once(path, [(o.id, o.row) for o in found])
    return found


def read_judged(path: Path, model: Literal["base", "sft"] = "sft") -> list[Output]:
    """`read_outputs` of which every row must be judged, be it by null; or the answers of one `model` in an items.parquet.

    Raises:
        DataError: as `read_outputs`, or a row has no field success.
    """
    if path.suffix == ".parquet":
        return _of_gate_report(path, model)
    found = read_outputs(path)
    for output in found:
        if not output.judged:
            raise DataError(f"{path}, row {output.row}, field success: is missing; must be true, false or null")
    return found


def _of_gate_report(path: Path, model: str) -> list[Output]:
    """One model's answers among the items of a gate report."""
    import pyarrow as pa

    from sft_pipeline.dataset.table import read_table

    try:
        found = read_table(path)
        made = [
            Output(
                id=row["id"],
                row=number,
                judged=True,
                success=row[f"{model}_success"],
                output=row[f"{model}_output"],
                tokens=row[f"{model}_tokens"],
                cut=row[f"{model}_cut"],
                item={"type": row["type"], "instruction": row["instruction"]}
                | ({"group": row["cluster"]} if row["cluster"] else {}),
            )
            for number, row in enumerate(found, start=1)
        ]
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    except KeyError as error:
        raise DataError(
            f"{path} has no column {error}: of Parquet files, only a gate report's items.parquet is read"
        ) from None
    _once(path, [(o.id, o.row) for o in made])
    return made


def read_item_rows(path: Path) -> dict[str, dict[str, str]]:
    """By id the items of a file: instruction, response, type, group and reference, as far as they are given, and their row.

    `asked` is, as JSON text, what else may belong to the question (jsonl.py).

    Raises:
        DataError: as `read_outputs`.
    """
    found, ids = {}, []
    for row in rows(path):
        id = row.id()
        ids.append((id, row.number))
        response, asked = row.text("response"), row.asked()
        found[id] = row.item() | ({} if response is None else {"response": response}) | {"row": str(row.number)}
        found[id] |= {"asked": canonical_json(asked)} if asked else {}
    _once(path, ids)
    return found


def _output(row: Row) -> Output:
    id, success = row.id(), row.success()
    if "output" not in row.values and "success" not in row.values:
        other = [name for name in _FOREIGN if name in row.values]
        hint = f"; if {other[0]} holds the model's answer, rename it" if len(other) == 1 else ""
        fields = ", ".join(list(row.values)[:12])
        raise row.wrong("output", f"is missing, and so is success (fields: {fields}){hint}")
    finish = row.text("finish_reason")
    cut = None if finish is None else _cut(finish)
    return Output(
        id=id,
        row=row.number,
        judged="success" in row.values,
        success=success,
        output=row.text("output"),
        tokens=row.tokens(),
        cut=cut,
        unknown_finish=finish if cut is None else None,
        prompt=None if row.values.get("prompt") is None else canonical_json(row.values["prompt"]),
        item=row.item(),
        asked=row.asked(),
        settings=row.settings(),
    )


def _cut(finish: str) -> bool | None:
    """Whether a finish_reason tells of a cut; None for a word that is not known, which tells nothing.

    Enumerations are often written with their name before a point or as a prefix: FinishReason.MAX_TOKENS.
    """
    word = re.sub(r"[^a-z]+", "_", finish.lower().rpartition(".")[2]).strip("_").removeprefix("finish_reason_")
    return True if word in _CUT else False if word in _ENDED else None


def _once(path: Path, ids: list[tuple[str, int]]) -> None:
    counts = Counter(id for id, _ in ids)
    if twice := sorted(id for id, count in counts.items() if count > 1):
        lines = [str(number) for id, number in ids if id == twice[0]]
        more = (
            f", and {len(twice) - 1} other ids ({', '.join(twice[1:4])}{', …' if len(twice) > 4 else ''})"
            if twice[1:]
            else ""
        )
        raise DataError(
            f"{path}: the id {twice[0]} stands more than once (rows {', '.join(lines[:4])}){more}; make ids unique"
        )
