"""Conversations as a chat template writes them, and which of the text the assistant says.

What the model is asked with is what the template writes before an answer with `add_generation_prompt`. It must be how the
whole conversation begins (a prefix-stable template); the answer goes from there to the token that ends the turn. A template
with `{% generation %}` blocks says itself what is an answer.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from sft_pipeline.errors import ModelError
from sft_pipeline.experiment import Prompt
from sft_pipeline.model.conversation import Conversation, Message
from sft_pipeline.provenance import subprocess_call

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SECONDS = 20.0
"""Processor time for all renderings of a conversation. Every answer is asked with all that came before it, so it grows with the
square of the exchanges: ChatML took 0.03 s for one exchange of a megabyte, and 1 s for 400 of a third of a kilobyte each."""

CHATML = """\
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}
    {{- '# Tools\\n\\nCall functions by JSON objects within <tool_call></tool_call> tags. Signatures:\\n<tools>' }}
    {%- for tool in tools %}{{- '\\n' + tool | tojson }}{%- endfor %}
    {{- '\\n</tools>' + turn_end + '\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role != 'system' or not tools %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content }}
        {%- for call in message.tool_calls or [] %}
            {{- ('\\n' if message.content or not loop.first else '') + '<tool_call>\\n' + call.function | tojson + '\\n</tool_call>' }}
        {%- endfor %}
        {{- turn_end + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""
"""ChatML with tool calls as Hermes and Qwen write them; `turn_end` is the token that ends a turn."""

_GENERATION = re.compile(r"{%-?\s*generation\s*-?%}")
_QUESTION, _ANSWER, _FUNCTION, _PLACES = (
    "Which river is longest",
    "Quorn answers",
    "quorn_find",
    ("Quornhill", "Quornby"),
)
_FORMS = [(text, bare) for bare in (False, True) for text in (False, True)]
"""Spellings of a tool call: its arguments as an object or as JSON text; beside it an empty text, or none."""
_TOOL = {"type": "function", "function": {"name": _FUNCTION, "description": "", "parameters": {"type": "object"}}}


class Rendered(str):
    """A text that a chat template wrote: the control tokens in it are the template's own."""

    __slots__ = ()


class Unfit(ValueError):
    """A conversation that this template cannot write so that it could be learned, with the reason."""


class Written(NamedTuple):
    """A conversation as text.

    Attributes:
        text: all of it.
        answers: first character and the one after the last of each answer with its end token.
    """

    text: Rendered
    answers: list[tuple[int, int]]


@dataclass(frozen=True)
class ChatTemplate:
    """A chat template that was tried out with a tokenizer.

    Attributes:
        text: the template.
        variables: what it reads besides messages and tools.
        today: the date that it takes for today's.
        control: texts of the tokens that no message may hold.
        ends: id → text of the tokens that end a turn of the assistant.
        end: id of the one that ends a conversation.
        opening: what it writes between the prompt and an answer without reasoning.
        calls: the spelling of tool calls that it takes: whether with their arguments as JSON text, and without content.
    """

    text: str
    variables: Mapping[str, Any]
    today: str
    control: tuple[str, ...]
    ends: Mapping[int, str]
    end: int
    opening: str
    calls: tuple[bool, bool]

    def prompt(self, conversation: Conversation) -> Rendered:
        """What the model is asked with for the last answer.

        Raises:
            Unfit: the template cannot write it, or a message holds a control token.
        """
        before = conversation.messages[: conversation.answers[-1]]
        self._refuse_control(before)
        ((text, _, error),) = self._render([self._request(before, conversation.tools, True)])
        if error:
            raise Unfit(f"the chat template cannot write it: {error}")
        _find_all(text, before)
        return Rendered(text)

    def write(self, conversation: Conversation) -> Written:
        """The whole conversation, and where its answers stand.

        Raises:
            Unfit: the template cannot write it, leaves something out or is not prefix-stable, or a message holds a control
                token.
        """
        messages, answers = conversation.messages, conversation.answers
        self._refuse_control(messages)
        marked = _GENERATION.search(self.text) is not None
        requests = [self._request(messages, conversation.tools, False, marked)]
        requests += [self._request(messages[:at], conversation.tools, True) for at in answers]
        (text, spans, error), *prompts = self._render(requests)
        if error := error or next((e for _, _, e in prompts if e), ""):
            raise Unfit(f"the chat template cannot write it: {error}")
        places = _find_all(text, messages, dict(zip(answers, (len(p) for p, _, _ in prompts))))
        for at, (prompt, _, _) in zip(answers, prompts, strict=True):
            if not text.startswith(prompt):
                part = next((n for n, (a, b) in enumerate(zip(prompt, text)) if a != b), len(text))
                raise Unfit(
                    f"the chat template is not prefix-stable: what it writes before message {at + 1} is not how the whole "
                    f"conversation begins. Asked with {prompt[part : part + 40]!r}, learned after {text[part : part + 40]!r}"
                )
        if marked:
            every = sum(message["role"] == "assistant" for message in messages)
            if len(spans) != every:
                raise Unfit(f"the chat template marks {len(spans)} answers by its generation blocks; there are {every}")
            found = spans[-len(answers) :]
            for (start, end), at in zip(found, answers, strict=True):
                if not text[start:end].rstrip().endswith(tuple(self.ends.values())):
                    raise Unfit(f"the chat template's generation block leaves out the end of message {at + 1}")
        else:
            found = [(len(p), self._end(text, places, at)) for at, (p, _, _) in zip(answers, prompts, strict=True)]
        return Written(Rendered(text), [(start, end) for start, end in found])

    def _end(self, text: str, places: Sequence[tuple[int, int]], at: int) -> int:
        """Where an answer has ended with its token, which stands before anybody says something again."""
        _, last = places[at]
        again = next((start for start, end in places[at + 1 :] if start < end), len(text))
        ends = [(found, end) for end in self.ends.values() if (found := text.find(end, last, again)) >= 0]
        if not ends:
            raise Unfit(f"the chat template writes no end token after message {at + 1}")
        found, end = min(ends)
        return found + len(end)

    def _request(
        self, messages: Sequence[Message], tools: Any, generation: bool, marked: bool = False
    ) -> dict[str, Any]:
        messages = [_spelt(message, *self.calls) for message in messages]
        return {"messages": messages, "tools": tools, "add_generation_prompt": generation, "marked": marked}

    def _render(self, requests: Sequence[Mapping[str, Any]]) -> list[tuple[str, list, str]]:
        from sft_pipeline.model import chat_rendering

        try:
            return subprocess_call.call(
                chat_rendering.__name__, "render", self.text, self.variables, self.today, requests, seconds=SECONDS
            )
        except subprocess_call.Exhausted as limit:
            raise ModelError(
                f"the chat template was stopped: it {limit}. Name another (prompt.chat.template), or correct the one in the "
                "model's files."
            ) from limit

    def _refuse_control(self, messages: Iterable[Message]) -> None:
        for number, message in enumerate(messages, 1):
            parts = (
                message["content"],
                message.get("reasoning_content", ""),
                json.dumps(message.get("tool_calls", "")),
            )
            if token := next((token for token in self.control if any(token in part for part in parts)), None):
                raise Unfit(
                    f"message {number} ({message['role']}) holds the control token {token}, which the model would read as a "
                    "mark of the conversation; where it is a marker of your own format (such as <think>), declare "
                    "model.allowed_template_tokens"
                )


def open_template(
    tokenizer: "PreTrainedTokenizerBase", shipped: object, prompt: Prompt, template_tokens: Mapping[int, str]
) -> ChatTemplate:
    """The template that `prompt` declares, tried out with a conversation.

    Args:
        tokenizer: its special tokens are variables of the template.
        shipped: what the model's files carry: a template, several by name, or none.
        prompt: declares the template, its options and its date.
        template_tokens: id → text of the tokens that only a chat template uses, but for those that are allowed.

    Raises:
        ModelError: there is no template, it cannot be rendered in time, or no model could learn where an answer ends.
    """
    chat, added = prompt.chat, tokenizer.added_tokens_decoder.items()
    special = {i: token.content for i, token in added if token.special} | dict(template_tokens)
    special |= {tokenizer.eos_token_id: tokenizer.eos_token}
    variables: dict[str, Any] = {**tokenizer.special_tokens_map, **chat.options}
    control = {*template_tokens.values(), tokenizer.eos_token, tokenizer.bos_token} - {None}
    if chat.template == "chatml":
        end = "<|im_end|>" if "<|im_end|>" in special.values() else tokenizer.eos_token
        text = f"{{%- set turn_end = {json.dumps(end)} %}}\n{CHATML}"
        control |= {"<|im_start|>", "<|im_end|>"}
    else:
        found = shipped.get("default") if isinstance(shipped, dict) else shipped
        text = found if isinstance(found, str) else ""
        if not text:
            raise ModelError(
                "prompt.format is chat, but the model ships no chat template. Name one: prompt.chat.template: chatml."
            )
    template = ChatTemplate(text, variables, chat.date, tuple(sorted(control)), {}, -1, "", (False, False))
    user: Message = {"role": "user", "content": _QUESTION}
    answer: Message = {"role": "assistant", "content": _ANSWER}
    calls = [
        {"type": "function", "function": {"name": _FUNCTION, "arguments": {"place": place}}, "id": f"call0000{number}"}
        for number, place in enumerate(_PLACES)
    ]
    calling = [[user, {"role": "assistant", "content": "", "tool_calls": some}] for some in (calls[:1], calls)]
    (asked, _, no_prompt), (whole, _, error), (longer, _, _), *called = template._render(
        [
            template._request([user], None, True),
            template._request([user, answer], None, False),
            template._request([user, answer, user], None, False),
            *(replace(template, calls=form)._request(one, [_TOOL], False) for form in _FORMS for one in calling),
        ]
    )
    if error := error or no_prompt:
        raise ModelError(f"the chat template cannot write the plainest conversation: {error}")
    if _QUESTION not in asked or _ANSWER not in whole:
        raise ModelError("the chat template leaves out what is said: it does not write the content of every message")
    if not whole.startswith(asked):
        raise ModelError(
            "the chat template is not prefix-stable: what it writes before an answer is not how the conversation with that "
            f"answer begins ({asked[-60:]!r} against {whole[:200][-60:]!r})"
        )
    ending = [_token_at(text.partition(_ANSWER)[2], special) for text in (whole, longer)]
    spelling, end = _calls([text for text, *_ in called], special)
    ending.append(end)
    if ending[0] is None:
        raise ModelError(
            f"the chat template writes no special token of the tokenizer after an answer ({whole.partition(_ANSWER)[2]!r}), so "
            "that a model could not learn to stop. Take a template that ends a turn, such as prompt.chat.template: chatml."
        )
    return replace(
        template,
        ends={i: special[i] for i in ending if i is not None},
        end=ending[0],
        opening=whole[len(asked) :].partition(_ANSWER)[0],
        calls=spelling,
    )


def _token_at(text: str, special: Mapping[int, str], *, last: bool = False) -> int | None:
    """Id of the special token that `text` begins, or ends, with; white space aside."""
    text = text.strip()
    fits = [i for i, token in special.items() if (text.endswith(token) if last else text.startswith(token))]
    return max(fits, key=lambda i: len(special[i]), default=None)


def _calls(written: Sequence[str], special: Mapping[int, str]) -> tuple[tuple[bool, bool], int | None]:
    """The first of `_FORMS` in which a template writes a call, and the token that ends such an answer; None without one.

    Args:
        written: for each of the forms an answer with one call, and with two; empty where the template cannot write it.
        special: id → text of the tokens that may end a turn.
    """
    for form, one, two in zip(_FORMS, written[::2], written[1::2], strict=True):
        if _PLACES[0] in one:
            both = two if all(place in two for place in _PLACES) else one
            end = _token_at(both, special, last=True)
            # A token behind each of several calls ends a call, and not the answer.
            alone = end is not None and both.partition(_PLACES[0])[2].count(special[end]) == 1
            return form, end if alone else None
    return _FORMS[0], None


def _spelt(message: Message, as_text: bool, bare: bool) -> Message:
    """A message with its tool calls in the spelling that a template takes."""
    if "tool_calls" not in message:
        return message
    calls = message["tool_calls"]
    if as_text:
        functions = [call["function"] for call in calls]
        texts = [{**f, "arguments": json.dumps(f["arguments"], ensure_ascii=False)} for f in functions]
        calls = [{**call, "function": text} for call, text in zip(calls, texts)]
    return {**message, "tool_calls": calls, "content": message["content"] or (None if bare else "")}


def _find_all(text: str, messages: Sequence[Message], after: Mapping[int, int] | None = None) -> list[tuple[int, int]]:
    """Where each message begins to be said in `text`, and has been said.

    Args:
        text: what the template wrote.
        messages: what it was to write.
        after: of some messages the character from which on they are looked for.

    Raises:
        Unfit: something is not there.
    """
    places, position = [], 0
    for at, message in enumerate(messages):
        position = max(position, (after or {}).get(at, 0))
        starts = []
        parts = [("reasoning", message.get("reasoning_content", "")), ("text", message["content"])]
        parts += [("tool call", call["function"]["name"]) for call in message.get("tool_calls", ())]
        for what, part in parts:
            # A tool's result may stand as JSON text.
            forms = (part.strip(), json.dumps(part, ensure_ascii=False)[1:-1])
            found = [(place, place + len(form)) for form in forms if (place := text.find(form, position)) >= 0]
            if not found:
                remedy = " (data.source.conversations.reasoning: drop leaves it out)" if what == "reasoning" else ""
                raise Unfit(
                    f"the chat template does not write the {what} of message {at + 1} ({message['role']}) where it "
                    f"belongs{remedy}"
                )
            start, position = min(found, key=lambda place: place[1])
            starts += [start] if start < position else []
        places.append((min(starts, default=position), position))
    return places
