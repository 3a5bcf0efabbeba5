"""A conversation as one instruction and one response: what a base model's prompt can hold.

Both spellings are read: {role, content} and ShareGPT's {from, value}. Whatever is not one question of a user and one
answer of the assistant is decided by the declared policy or set aside; nothing is guessed.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from sft_pipeline.dataset.source.unreadable import Unreadable, kind
from sft_pipeline.experiment import Conversations

_SPELLINGS = (("role", "content"), ("from", "value"))
_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
}
_TOOLS = ("tool", "tools", "function", "function_call", "function_response", "observation")
_CALLS = ("tool_calls", "function_call")


def exchange(
    value: Any,
    field: str,
    policy: Conversations,
    tally: Counter[str],
    *,
    answered: bool = True,
    setting: str = "data.source.conversations",
) -> tuple[str, str]:
    """Instruction and response of a conversation.

    Args:
        value: the list of messages.
        field: name of the field that holds it, for messages to the user.
        policy: what becomes of system messages and of several exchanges.
        tally: counts what the policy left out, by the words of the note about it.
        answered: False where the question is enough; the response is empty then.
        setting: the specification's field that holds the policy, for messages to the user; empty where there is none.

    Raises:
        Unreadable: the conversation has another form, or the policy sets it aside.
    """
    if not isinstance(value, list):
        raise Unreadable(f"field {field!r} is {kind(value)}, not a list of messages")
    turns = ((position, *_message(message, position, field)) for position, message in enumerate(value, 1))
    position, role, text = next(turns, (0, "", ""))
    system = ""
    if role == "system":
        if policy.system == "reject":
            raise Unreadable(f"field {field!r} has a system message ({setting}.system: reject)")
        if policy.system == "prepend":
            system = text
        elif text.strip():
            tally[f"system messages were left out{f' ({setting}.system: drop)' if setting else ''}"] += 1
        position, role, text = next(turns, (position, "", ""))
    if role != "user":
        raise Unreadable(f"field {field!r} {_instead(role, position)} the question of a user is expected")
    question = f"{system}\n{text}" if system.strip() else text
    if not answered:
        # What the assistant and its tools said is not compared; a later question is as much an item as the first.
        if later := sum(_is_question(message) for message in value[position:]):
            _cut(f"has {1 + later} questions of a user, write each as a row of its own", field, policy, tally, setting)
        return question, ""
    position, role, text = next(turns, (position, "", ""))
    if role != "assistant":
        raise Unreadable(f"field {field!r} {_instead(role, position)} the answer of the assistant is expected")
    if position < len(value):
        found = f"goes on after the first exchange, {len(value)} messages in all"
        _cut(found, field, policy, tally, setting)
    return question, text


def _cut(found: str, field: str, policy: Conversations, tally: Counter[str], setting: str) -> None:
    """Count a conversation that is cut to its first exchange, if the policy allows that."""
    if policy.several_turns == "reject":
        raise Unreadable(f"field {field!r} {found}{f' ({setting}.several_turns: reject)' if setting else ''}")
    tally[f"conversations were cut to their first exchange ({setting}.several_turns: first)"] += 1


def _is_question(message: Any) -> bool:
    if not isinstance(message, Mapping):
        return False
    return any(_ROLES.get(str(message.get(role)).lower()) == "user" for role, _ in _SPELLINGS)


def _instead(role: str, position: int) -> str:
    return f"has a message of the role {role} as number {position}, where" if role else "ends where"


def _message(message: Any, position: int, field: str) -> tuple[str, str]:
    """Role and text of a message."""
    where = f"message {position} of field {field!r}"
    if not isinstance(message, Mapping):
        raise Unreadable(f"{where} is {kind(message)}, not an object")
    spelling = next((fields for fields in _SPELLINGS if message.get(fields[0]) is not None), None)
    if spelling is None:
        raise Unreadable(f"{where} has neither role and content nor from and value")
    role_field, text_field = spelling
    written = message[role_field]
    if not isinstance(written, str):
        raise Unreadable(f"{where}: {role_field!r} is {kind(written)}, not text")
    role = _ROLES.get(written.lower())
    if written.lower() in _TOOLS or any(message.get(call) for call in _CALLS):
        raise Unreadable(f"{where} belongs to a tool call, which one response cannot hold")
    if role is None:
        raise Unreadable(f"{where} has the unknown role {written!r}; known are {', '.join(_ROLES)}")
    return role, _text(message.get(text_field), f"{where}: {text_field!r}")


def _text(value: Any, where: str) -> str:
    """A text, or a list of text parts, which stand on lines of their own."""
    if isinstance(value, list):
        parts = []
        for part in value:
            if not isinstance(part, Mapping) or part.get("type") != "text" or not isinstance(part.get("text"), str):
                what = f"of type {part.get('type')!r}" if isinstance(part, Mapping) else f"that is {kind(part)}"
                raise Unreadable(f"{where} has a part {what}; only text parts can be read")
            parts.append(part["text"])
        return "\n".join(parts)
    if not isinstance(value, str):
        raise Unreadable(f"{where} is {kind(value)}, not text")
    return value
