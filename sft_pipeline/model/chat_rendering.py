"""Renders chat templates; called by chat_template.py in the process of subprocess_call.py alone, which limits time and memory.

A template comes with a model from outside. transformers renders it in jinja's sandbox, which reaches no file and no module,
and which a loop without an end, or a power of powers, does not leave.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from jinja2 import Undefined
from jinja2.exceptions import UndefinedError
from jinja2.utils import missing
from transformers.utils.chat_template_utils import _compile_jinja_template, render_jinja_template


class Absent(Undefined):
    """What a template names and nobody gave: it may ask whether it is there, and not write it as an empty text."""

    __slots__ = ()

    def __str__(self) -> str:
        """Empty for a field that a message lacks.

        Raises:
            UndefinedError: it is a variable.
        """
        if self._undefined_obj is missing:
            raise UndefinedError(self._undefined_message)
        return ""


def render(
    template: str, variables: Mapping[str, Any], today: str, requests: Sequence[Mapping[str, Any]]
) -> list[tuple[str, list[tuple[int, int]], str]]:
    """Text, marked spans and error of each request.

    Args:
        template: the chat template.
        variables: what it reads besides: special tokens and declared options.
        today: the date that it takes for today's.
        requests: each with `messages`, `tools`, `add_generation_prompt` and `marked`: whether to tell the characters that
            stand in the template's generation blocks.
    """
    found: list[tuple[str, list[tuple[int, int]], str]] = []
    for request in requests:
        try:
            _compile_jinja_template(template).environment.undefined = Absent  # transformers keeps what it has compiled
            (text,), spans = render_jinja_template(
                [request["messages"]],
                tools=request["tools"],
                chat_template=template,
                add_generation_prompt=request["add_generation_prompt"],
                return_assistant_tokens_mask=request["marked"],
                **{**variables, "strftime_now": date.fromisoformat(today).strftime},
            )
            found.append((text, spans[0] if spans else [], ""))
        except MemoryError:
            raise
        except Exception as error:
            found.append(("", [], f"{type(error).__name__}: {error}"))
    return found
