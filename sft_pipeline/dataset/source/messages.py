"""Conversations as instruction and response, which is all that a plain prompt holds, or as they are.

Messages are {role, content}, ShareGPT's {from, value}, or spelled as the specification says. What a row cannot hold is
decided by the declared policy or rejected; nothing is guessed.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from sft_pipeline.dataset.source.items import Unreadable, kind
from sft_pipeline.experiment import Conversations
from sft_pipeline.model.conversation import Conversation, Message
from sft_pipeline.provenance.hashing import canonical_json

_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    **dict.fromkeys(("tool", "tools", "function", "function_call", "function_response", "observation"), "tool"),
}
_CALLS = ("tool_calls", "function_call")
_READ = {*_CALLS, "reasoning_content", "thinking", "tool_call_id", "name", "loss_weight", "weight"}
"""What a message may hold besides its role and text."""


def exchanges(
    value: Any,
    field: str,
    policy: Conversations,
    tally: Counter[str],
    *,
    system: str = "",
    answered: bool = True,
    setting: str = "data.source.conversations",
) -> list[tuple[str, str]]:
    """Instruction and response of each exchange of a conversation that the policy keeps.

    Args:
        value: the list of messages, or its JSON text.
        field: name of the field that holds it, for messages to the user.
        policy: what becomes of system messages and of several exchanges.
        tally: counts what the policy left out, by the words of the note about it.
        system: a system message from another field.
        answered: False where the question is enough; the response is then empty.
        setting: the specification's field that holds the policy, for messages to the user; empty where there is none.

    Returns:
        One pair, or with `several_turns: each` one per answer. The instruction of a later one is the conversation so
        far, with "User:" or "Assistant:" before each message.

    Raises:
        Unreadable: the conversation has another form, or the policy rejects it.
    """
    messages = _list(value, field)
    turns = (_message(message, position, field, policy) for position, message in enumerate(messages, 1))
    position, role, question = next(turns, (0, "", ""))
    if role == "system":
        system = "\n".join(filter(str.strip, (system, question)))
        position, role, question = next(turns, (position, "", ""))
    before = before_question(system, field, policy, tally, setting)
    found: list[tuple[str, str]] = []
    history: list[str] = []
    while True:
        if role != "user":
            raise Unreadable(f"field {field!r} {_instead(role, position)} the question of a user is expected")
        asked = before + ("\n".join([*history, f"User: {question}"]) if history else question)
        if not answered and policy.several_turns != "each":
            # What the assistant and its tools said is not needed; a later question is as much an item as the first.
            later = sum(_role(message, policy) == "user" for message in messages[position:])
            if later:
                reason = f"has {1 + later} questions of a user, write each as a row of its own"
                _cut(reason, field, policy, tally, setting)
            return [(asked, "")]
        position, role, answer = next(turns, (position, "", ""))
        if not role and (found or not answered):
            if answered:
                tally["conversations end with a question without an answer, which was left out"] += 1
                return found
            return [*found, (asked, "")]
        if role != "assistant":
            raise Unreadable(f"field {field!r} {_instead(role, position)} the answer of the assistant is expected")
        found.append((asked, answer if answered else ""))
        if position == len(messages):
            return found
        if policy.several_turns != "each":
            reason = f"goes on after the first exchange, {len(messages)} messages in all"
            _cut(reason, field, policy, tally, setting)
            return found
        history += [f"User: {question}", f"Assistant: {answer}"]
        position, role, question = next(turns, (position, "", ""))


def every_turn(
    value: Any, field: str, policy: Conversations, tally: Counter[str], *, system: str = "", setting: str = ""
) -> list[tuple[str, str]]:
    """Each question of a conversation by itself with the answer to it, for a comparison that must not miss any.

    Whatever the policy says about several exchanges, all of them are compared; a call or answer of a tool stands in the
    answer, with all its fields.

    Raises:
        Unreadable: a message cannot be read, or there is no question.
    """
    found: list[list[str]] = []
    for position, message in enumerate(_list(value, field), 1):
        if isinstance(message, Mapping) and _role(message, policy) == "tool":
            role, text = "tool", "\n".join(map(_as_text, message.values()))
        else:
            _, role, text = _message(message, position, field, policy)
        if role == "system":
            system = "\n".join(filter(str.strip, (system, text)))
        elif role == "user":
            found.append([text, ""])
        elif found:
            found[-1][1] = "\n".join(filter(None, (found[-1][1], text)))
    if not found:
        raise Unreadable(f"field {field!r} has no question of a user")
    found[0][0] = before_question(system, field, policy, tally, setting) + found[0][0]
    return [(question, answer) for question, answer in found]


def conversation(
    value: Any, tools: Any, field: str, policy: Conversations, tally: Counter[str], *, system: str, setting: str
) -> Conversation:
    """A conversation as it is, in the form that chat templates take; what follows the last answer is left out.

    Args:
        value: the list of messages, or its JSON text.
        tools: the functions that may be called, or their JSON text.
        field: name of the field that holds the messages, for messages to the user.
        policy: what becomes of system messages and of reasoning.
        tally: counts what was left out, by the words of the note about it.
        system: a system message from another field.
        setting: the specification's field that holds the policy, for messages to the user.

    Raises:
        Unreadable: a message cannot be read or is empty, the roles are out of order, or the policy rejects it.
    """
    found: list[Message] = [{"role": "system", "content": system}] if system.strip() else []
    open_calls: list[str | None] = []
    for position, written in enumerate(_list(value, field), 1):
        where = f"message {position} of field {field!r}"
        message = _whole_message(written, where, policy, tally, setting)
        role, calls = message["role"], message.get("tool_calls", [])
        before = found[-1]["role"] if found else ""
        if role == "system" and not message["content"].strip():
            continue
        if role == "system" and found:
            two = before == "system" and len(found) == 1
            raise Unreadable(
                f"{where} is {'a second system message' if two else 'a system message after the first message'}"
            )
        expected = {"": "user", "system": "user", "user": "assistant", "assistant": "user", "tool": "assistant or tool"}
        wanted = "tool" if open_calls and before == "assistant" else expected[before]
        if role != "system" and role not in wanted.split(" or "):
            raise Unreadable(
                f"{where} is of the role {role}, where one of {wanted} is expected"
                + (": a tool result without a call" if role == "tool" else "")
            )
        if role == "tool":
            own = message.get("tool_call_id")
            known = next((n for n, id in enumerate(open_calls) if own is None or id is None or id == own), None)
            if known is None:
                raise Unreadable(f"{where} is a tool result without a call" + (f" of the id {own!r}" if own else ""))
            del open_calls[known]
        elif role != "system" and not (message["content"].strip() or calls):
            raise Unreadable(f"{where} ({role}) is empty")
        if role == "assistant":
            open_calls = [call.get("id") for call in calls]
        found.append(message)
    while found and found[-1]["role"] != "assistant":
        if found.pop()["role"] != "system":
            tally["messages after the last answer of a conversation were left out"] += 1
    if not found:
        raise Unreadable(f"field {field!r} has no answer of the assistant")
    if found[0]["role"] == "system" and not before_question(found[0]["content"], field, policy, tally, setting):
        del found[0]
    return Conversation(found, _tools(tools))


def _whole_message(written: Any, where: str, policy: Conversations, tally: Counter[str], setting: str) -> Message:
    """A message of any spelling in the form of chat templates."""
    role_field, text_field = _spelling(written, where, policy)
    name, known = written[role_field], _roles(policy)
    role = known.get(name.lower()) if isinstance(name, str) else None
    if role is None:
        raise Unreadable(
            f"{where} has the unknown role {name!r}; known are {', '.join(known)}; conversations.roles names others"
        )
    content, parts = written.get(text_field), dict[str, list[Any]]()
    if isinstance(content, list):
        for part in content:
            what = part.get("type") if isinstance(part, Mapping) else kind(part)
            if what not in ("text", "reasoning", "tool_call"):
                raise Unreadable(
                    f"{where}: {text_field!r} has a part of type {what!r}; text, reasoning and tool_call can be read"
                )
            parts.setdefault(what, []).append(part.get("text", part.get("value")))
        content = "\n".join(_text(part, f"{where}: {text_field!r}") for part in parts.get("text", ()))
    calls = [*(written.get("tool_calls") or []), *parts.get("tool_call", ())]
    if written.get("function_call"):
        calls.append(written["function_call"])
    if str(name).lower() == "function_call":
        role, calls, content = "assistant", [content], ""
    message: Message = {"role": role, "content": "" if content is None else _text(content, f"{where}: {text_field!r}")}
    if reasoning := "\n".join(
        _text(part, f"{where}: reasoning")
        for part in (*parts.get("reasoning", ()), *(written.get(key) for key in ("reasoning_content", "thinking")))
        if part
    ):
        if policy.reasoning == "keep":
            message["reasoning_content"] = reasoning
        else:
            tally[f"reasoning of answers was left out ({setting}.reasoning: drop)"] += 1
    if calls:
        if role != "assistant":
            raise Unreadable(f"{where} is of the role {role} and calls a tool")
        message["tool_calls"] = [call for written_call in calls for call in _calls(written_call, where)]
    if role == "tool":
        message |= {key: written[key] for key in ("tool_call_id", "name") if isinstance(written.get(key), str)}
    for key in ("loss_weight", "weight"):
        if role == "assistant" and written.get(key) not in (None, 1):
            raise Unreadable(
                f"{where} has the {key} {written[key]}: every answer of a conversation is trained on alike"
            )
    for key in written.keys() - {role_field, text_field} - _READ:
        if written[key] not in (None, "", [], {}):
            tally[f"messages have a field {key!r}, which was left out"] += 1
    return message


def _calls(written: Any, where: str) -> list[dict[str, Any]]:
    """Tool calls of any spelling as functions with their arguments as an object."""
    try:
        if isinstance(written, str):
            written = json.loads(written)
        if isinstance(written, list):
            return [call for one in written for call in _calls(one, where)]
        function = written.get("function", written)
        arguments = function.get("arguments", {})
        if isinstance(arguments, str):
            arguments = json.loads(arguments or "{}")
        if isinstance(function["name"], str) and isinstance(arguments, dict):
            call = {"type": "function", "function": {"name": function["name"], "arguments": arguments}}
            return [call | ({"id": written["id"]} if isinstance(written.get("id"), str) else {})]
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        pass
    raise Unreadable(f"{where} has a tool call that is not a name with arguments: {str(written)[:80]}")


def _tools(written: Any) -> list[dict[str, Any]] | None:
    """The functions that may be called, each in its envelope; None where there are none."""
    if isinstance(written, str) and written.strip():
        try:
            written = json.loads(written)
        except (ValueError, RecursionError) as error:
            raise Unreadable(f"the tools of a conversation are not JSON: {error}") from error
    if not written:
        return None
    if not isinstance(written, list) or not all(isinstance(tool, Mapping) for tool in written):
        raise Unreadable(f"the tools of a conversation are {kind(written)}, not a list of objects")
    tools = [dict(tool) if "function" in tool else {"type": "function", "function": dict(tool)} for tool in written]
    if not all(
        isinstance(tool["function"], Mapping) and isinstance(tool["function"].get("name"), str) for tool in tools
    ):
        raise Unreadable("a tool of a conversation has no name")
    return tools


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else canonical_json(value)


def before_question(system: str, field: str, policy: Conversations, tally: Counter[str], setting: str) -> str:
    """What of a system message goes before the question, by the policy.

    Raises:
        Unreadable: the policy rejects rows with a system message.
    """
    if not system.strip():
        return ""
    if policy.system == "reject":
        raise Unreadable(f"field {field!r} has a system message ({setting}.system: reject)")
    if policy.system == "prepend":
        return f"{system}\n"
    tally[f"system messages were left out{f' ({setting}.system: drop)' if setting else ''}"] += 1
    return ""


def _cut(found: str, field: str, policy: Conversations, tally: Counter[str], setting: str) -> None:
    """Count a conversation that is cut to its first exchange, if the policy allows that."""
    if policy.several_turns == "reject":
        advice = f" ({setting}.several_turns: reject; `each` makes a row of every answer)" if setting else ""
        raise Unreadable(f"field {field!r} {found}{advice}")
    tally[f"conversations were cut to their first exchange ({setting}.several_turns: first)"] += 1


def _instead(role: str, position: int) -> str:
    return f"has a message of the role {role} as number {position}, where" if role else "ends where"


def _list(value: Any, field: str) -> list[Any]:
    """The list of messages; a text is read as JSON."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise Unreadable(
                f"field {field!r} is neither a list of messages nor the JSON text of one: {error}"
            ) from error
    if not isinstance(value, list):
        raise Unreadable(f"field {field!r} is {kind(value)}, not a list of messages")
    return value


def _spellings(policy: Conversations) -> Iterator[tuple[str, str]]:
    roles = [policy.role_field] if policy.role_field else ["role", "from"]
    texts = [policy.content_field] if policy.content_field else ["content", "value"]
    yield from zip(roles, texts)
    yield from ((role, text) for role in roles for text in reversed(texts))


def _spelling(message: Any, where: str, policy: Conversations) -> tuple[str, str]:
    """The fields of a message that hold its role and its text."""
    if not isinstance(message, Mapping):
        raise Unreadable(f"{where} is {kind(message)}, not an object")
    there = [pair for pair in _spellings(policy) if message.get(pair[0]) is not None]
    if not there:
        raise Unreadable(f"{where} has neither role and content nor from and value")
    return next((pair for pair in there if pair[1] in message), there[0])


def _role(message: Any, policy: Conversations) -> str | None:
    """The role of a message: system, user, assistant or tool; None where it is none of these."""
    if not isinstance(message, Mapping):
        return None
    written = next((message[role] for role, _ in _spellings(policy) if message.get(role) is not None), None)
    if any(message.get(call) for call in _CALLS):
        return "tool"
    return _roles(policy).get(written.lower()) if isinstance(written, str) else None


def _roles(policy: Conversations) -> dict[str, str]:
    """The roles by their names in lower case."""
    return _ROLES | {name.lower(): role for name, role in policy.roles.items()}


def _message(message: Any, position: int, field: str, policy: Conversations) -> tuple[int, str, str]:
    """Position, role and text of a message."""
    where = f"message {position} of field {field!r}"
    role_field, text_field = _spelling(message, where, policy)
    written = message[role_field]
    if not isinstance(written, str):
        raise Unreadable(f"{where}: {role_field!r} is {kind(written)}, not text")
    role = _role(message, policy)
    if role == "tool":
        raise Unreadable(f"{where} belongs to a tool call, which one response cannot hold")
    if role is None:
        known = [*policy.roles, *(name for name, known in _ROLES.items() if known != "tool")]
        raise Unreadable(
            f"{where} has the unknown role {written!r}; known are {', '.join(known)}; conversations.roles names others"
        )
    return position, role, _text(message.get(text_field), f"{where}: {text_field!r}")


def _text(value: Any, where: str) -> str:
    """A text, or a list of text parts, which stand on lines of their own."""
    if isinstance(value, list):
        parts = []
        for part in value:
            text = part.get("text", part.get("value")) if isinstance(part, Mapping) else None
            if not isinstance(part, Mapping) or part.get("type") != "text" or not isinstance(text, str):
                found = f"of type {part.get('type')!r}" if isinstance(part, Mapping) else f"that is {kind(part)}"
                raise Unreadable(f"{where} has a part {found}; only text parts can be read")
            parts.append(text)
        return "\n".join(parts)
    if not isinstance(value, str):
        raise Unreadable(f"{where} is {kind(value)}, not text")
    return value
