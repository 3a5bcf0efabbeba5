"""Outputs of a model, whoever wrote them, and items: joined by id and never by position."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sft_pipeline.dataset.source.items import printable
from sft_pipeline.errors import DataError
from sft_pipeline.evaluation.inputs.rows import PROMPTS, Row, rows
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
    """One answer of a model.

    Attributes:
        id: a number is taken as its digits.
        row: line of the file, from 1.
        judged: whether the row has a field success at all.
        success: None where the row is not judged, or where whoever judged could not tell (null).
        scores: what the harness measured, by metric; None for what it did not score.
        output: the model's answer; None where the row has none.
        tokens: generated tokens, where the row says it.
        prompt_tokens: tokens of the prompt, where the row says it.
        cut: whether finish_reason says that the limit of tokens cut the answer; None where the row does not say it.
        unknown_finish: a finish_reason that is no known word, so that it tells nothing.
        prompt: what the model was given, as JSON; None where the row does not say it.
        item: what the row says of its item: type, instruction, group, reference (JSON text).
        asked: other fields that may belong to the question (rows.py).
        settings: how the answer was made, as far as the row says it (rows.py).
        key: what identifies the item in its harness, such as lm-eval's doc_hash, where that is more than the id.
        identity: what must be the same for both models, by name: hashes of document, prompt and target.
        failure: why there is no answer; empty where there is one.
        labels: categories of the judgement, such as tie.
        compared: whether a judge saw both models' answers, so that success belongs to the pair.
        chosen: the answer that a metric scored, by metric, where it is not `output`.
    """

    id: str
    row: int
    judged: bool = False
    success: bool | None = None
    output: str | None = None
    tokens: int | None = None
    cut: bool | None = None
    unknown_finish: str | None = None
    prompt: str | None = None
    item: Mapping[str, str] = field(default_factory=dict)
    asked: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    scores: Mapping[str, float | None] = field(default_factory=dict)
    key: str | None = None
    identity: Mapping[str, str] = field(default_factory=dict)
    failure: str = ""
    labels: tuple[str, ...] = ()
    compared: bool = False
    chosen: Mapping[str, str] = field(default_factory=dict)
    prompt_tokens: int | None = None

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
    once(path, [(o.id, o.row) for o in found])
    return found


def read_item_rows(path: Path) -> dict[str, dict[str, str]]:
    """By id the items of a file: instruction, response, type, group and reference, as far as they are given, and their row.

    `asked` is, as JSON text, what else may belong to the question (rows.py).

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
    once(path, ids)
    return found


def _output(row: Row) -> Output:
    id, success, score = row.id(), row.success(), row.score()
    if row.values.keys().isdisjoint(("output", "success", "score")):
        other = [name for name in _FOREIGN if name in row.values]
        hint = f"; if {other[0]} holds the model's answer, rename it" if len(other) == 1 else ""
        fields = ", ".join(list(row.values)[:12])
        raise row.wrong("output", f"is missing, and so is success (fields: {fields}){hint}")
    finish = row.text("finish_reason")
    return Output(
        id=id,
        row=row.number,
        judged="success" in row.values,
        success=success,
        scores={"score": score} if "score" in row.values and "success" not in row.values else {},
        output=row.text("output"),
        tokens=row.tokens(),
        prompt_tokens=row.tokens("prompt_tokens"),
        **ending(finish),
        prompt=_prompt(row),
        item=row.item(),
        asked=row.asked(),
        settings=row.settings(),
    )


def _prompt(row: Row) -> str | None:
    """What the model was given; of a conversation what comes before its own answer."""
    prompt = next((row.values[name] for name in PROMPTS if row.values.get(name) is not None), None)
    if isinstance(prompt, list) and prompt and isinstance(prompt[-1], dict) and prompt[-1].get("role") == "assistant":
        prompt = prompt[:-1]
    return None if prompt is None else canonical_json(prompt)


def item_of(
    *, type: str, instruction: str | None = None, group: str | None = None, answer: Any = None
) -> dict[str, str]:
    """What a harness says of an item, in the fields of `Output.item`; an expected answer that is no text is left out."""
    found = {"type": printable(type)}
    if instruction:
        found["instruction"] = printable(instruction)
    if group is not None:
        found["group"] = printable(group)
    if isinstance(answer, str) and answer.strip():
        found["reference"] = canonical_json({"answer": printable(answer)})
    return found


def was_cut(finish: str | None) -> bool | None:
    """Whether a finish_reason tells of a cut; None for none, and for a word that is not known, which tells nothing.

    Enumerations are often written with their name before a point or as a prefix: FinishReason.MAX_TOKENS.
    """
    if finish is None:
        return None
    word = re.sub(r"[^a-z]+", "_", finish.lower().rpartition(".")[2]).strip("_").removeprefix("finish_reason_")
    return True if word in _CUT else False if word in _ENDED else None


def ending(finish: str | None) -> dict[str, Any]:
    """What a finish_reason says, as fields of `Output`."""
    cut = was_cut(finish)
    return {"cut": cut, "unknown_finish": finish if cut is None else None}


def once(path: Path, ids: list[tuple[str, int]]) -> None:
    """Refuse ids that stand more than once; each with its row.

    Raises:
        DataError: names them and their rows.
    """
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
