"""Is a failed answer right once what stands around it is cut away? The same scorer judges what is left.

A base without a stop string gives the right answer and continues with a next question; a chat model puts its JSON into a code
fence. A scorer that takes the whole output fails both. Whether a lift is there without that is the question of knowledge.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from sft_pipeline.evaluation.scorers import Item
from sft_pipeline.experiment import ScorerSpec

KINDS = {"exact", "numeric", "choice", "regex", "json_record", "json_schema", "item_list", "math"}
"""Scorers that read the whole output. Not those that look for the answer in it (contains), that know an end themselves
(think_answer, code), or to which a shorter text is another one (ifeval: "no commas" is easily met by one line)."""

COMPARES = {"exact", "numeric", "choice", "json_record", "math", "think_answer", "code"}
"""Verifiers that compare with expected content, so that no length alone makes a success of an answer."""

PHRASES = {"refusal", "answer"}
"""Heuristics that look for phrases; they count no characters either."""

_LENGTHS = {
    *("minLength", "maxLength", "pattern", "patternProperties"),
    *("minItems", "maxItems", "minContains", "maxContains", "minProperties", "maxProperties"),
}
"""Keywords of a schema that can make success a matter of length."""

_FENCE = re.compile(r"```[^`\n]*+\n(.*?)(?:\n```|\Z)", re.DOTALL)


def cuts(output: str) -> list[str]:
    """What may be the answer itself: the first line, the first paragraph, the first code block, the first JSON value."""
    text = output.strip()
    found = [text.partition("\n")[0], re.split(r"\n\s*\n", text, maxsplit=1)[0]]
    if fence := _FENCE.search(text):
        found.append(fence[1])
    if opened := re.search(r"[{\[]", text):
        try:
            _, end = json.JSONDecoder().raw_decode(text, opened.start())
            found.append(text[opened.start() : end])
        except (ValueError, RecursionError):
            pass  # there is no JSON value here
    return [part for part in dict.fromkeys(part.strip() for part in found) if part and part != text]


def length_free(item: Item, spec: ScorerSpec) -> bool:
    """Whether the scorer of this item cannot measure length."""
    if spec.kind == "json_schema":
        return not _mentions_length(item.setting("schema", spec.options))
    return spec.kind in COMPARES | PHRASES


def _mentions_length(schema: Any) -> bool:
    if isinstance(schema, Mapping):
        return bool(_LENGTHS & schema.keys()) or any(map(_mentions_length, schema.values()))
    return isinstance(schema, list) and any(map(_mentions_length, schema))
