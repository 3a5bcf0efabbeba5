"""What a row's conversation is: messages as chat templates take them, and as text for whatever compares or judges texts."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sft_pipeline.provenance.hashing import canonical_json

Message = dict[str, Any]
"""`role` (system, user, assistant, tool) and `content`, a text; at need `reasoning_content`, `tool_calls`, `tool_call_id`, `name`."""

_SPEAKERS = {"system": "System", "user": "User", "assistant": "Assistant", "tool": "Tool"}


class Conversation(NamedTuple):
    """The messages of a row.

    Attributes:
        messages: in their order; at most the first is of the system, the last is of the assistant.
        tools: the functions that may be called, as JSON schemas.
        last: whether only the last message is an answer to learn or to judge, and the others are given.
    """

    messages: list[Message]
    tools: list[dict[str, Any]] | None = None
    last: bool = False

    @property
    def answers(self) -> list[int]:
        """Positions of the messages to learn or to judge."""
        found = [at for at, message in enumerate(self.messages) if message["role"] == "assistant"]
        return found[-1:] if self.last else found

    def to_json(self) -> str:
        """The content of a row's column `conversation`."""
        rest = {"tools": self.tools} if self.tools else {}
        return canonical_json({"messages": self.messages, **rest, **({"last": True} if self.last else {})})


def of_row(row: Mapping[str, Any]) -> Conversation:
    """The conversation of a row (dataset/table.py); instruction and response are one of two messages."""
    if text := row.get("conversation"):
        return Conversation(**json.loads(text))
    asked = {"role": "user", "content": row["instruction"]}
    return Conversation([asked, {"role": "assistant", "content": row["response"]}])


def said(message: Message) -> str:
    """What a message says as text, its tool calls as JSON."""
    calls = [canonical_json(call["function"]) for call in message.get("tool_calls", ())]
    return "\n".join(filter(None, (message["content"], *calls)))


def texts(messages: Sequence[Message], answer: int) -> tuple[str, str]:
    """Instruction and response that the message at `answer` and all before it are, as rows without conversation have them."""
    before = messages[:answer]
    system = "".join(f"{message['content']}\n" for message in before if message["role"] == "system")
    asked = [message for message in before if message["role"] != "system"]
    lines = [f"{_SPEAKERS[message['role']]}: {said(message)}" for message in asked]
    return system + (said(asked[0]) if len(asked) == 1 else "\n".join(lines)), said(messages[answer])


def exchanges(conversation: Conversation) -> Iterator[tuple[str, str]]:
    """For each answer what was said since the one before it, and the answer: every message stands in one of them."""
    since = 0
    for at, message in enumerate(conversation.messages):
        if message["role"] == "assistant":
            yield "\n".join(map(said, conversation.messages[since:at])), said(message)
            since = at + 1


def turns(conversation: Conversation) -> Iterator[Conversation]:
    """The conversation up to each of its answers, of which that one is to be judged."""
    for at in conversation.answers:
        yield Conversation(conversation.messages[: at + 1], conversation.tools, last=True)


def shortened(conversation: Conversation, keep: str) -> Iterator[Conversation]:
    """The conversation with ever fewer exchanges: without the `last` ones kept, without the first, or the other way round."""
    messages = conversation.messages
    system = messages[:1] if messages[0]["role"] == "system" else []
    begins = [at for at, message in enumerate(messages) if message["role"] == "user"]
    for at in begins[1:] if keep == "last" else reversed(begins[1:]):
        yield conversation._replace(messages=[*system, *messages[at:]] if keep == "last" else messages[:at])
