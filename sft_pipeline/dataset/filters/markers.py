"""Marks of a training format inside a text: delimiters, chat templates, and prompts that a response goes on to."""

import re
from functools import cache

from sft_pipeline.dataset.filters.base import Hit, Row
from sft_pipeline.dataset.filters.continuations import Continuations
from sft_pipeline.dataset.text import trimmed
from sft_pipeline.experiment import Quality


def delimiter(row: Row, quality: Quality, _: Continuations) -> Hit | None:
    """A marker of some training format inside the text.

    Beside the declared ones: control tokens as the chat templates of Llama 2 and 3, Gemma, Phi, Qwen, Zephyr and
    DeepSeek write them, the headings of Alpaca's and Vicuna's prompts in the response, and a last line of the response
    that only says that the output ends here ("// end of output //"). Without declared markers none is looked for.
    """
    if not quality.delimiters:
        return None
    for field in ("instruction", "response"):
        text = row[field]
        for marker in quality.delimiters:
            if marker in text:
                at = text.find(marker)
                return Hit(f"the {field} holds the delimiter {marker}", text[max(0, at - 100) : at + 100])
        if ("<" in text or "[/" in text) and (found := _CONTROL_TOKEN.search(text)):
            at = found.start()
            return Hit(f"the {field} holds the chat-template token {found[0]}", text[max(0, at - 100) : at + 100])
    response = row["response"]
    if "###" in response and (found := _HEADING.search(response)):
        return Hit("the response holds the heading of a prompt template", response[found.start() :][:200].strip())
    response = trimmed(response)
    end = response[-60:]
    if found := _END_OF_OUTPUT.search(end[end.rfind("\n") + 1 :]):
        # A flow chart, too, says where it ends.
        return (
            None if "start" in response[:20].lower() else Hit("the response ends with a marker that says so", found[0])
        )
    return None


def runaway(row: Row, quality: Quality, _: Continuations) -> Hit | None:
    """A response that goes on to a new prompt: a later line starts with a marker, numbered, as a heading or plain.

    So does one in which a later line starts with "Input:" and one after it with "Output:". Length is no sign of a
    runaway. A response that begins with a speaker or a label of its own ("User: Hi", "Topic: Travel") is a dialogue or
    a form, in which such lines belong; so they do where the instruction asks for questions with their answers.
    """
    if not quality.runaway_markers:
        return None
    response = trimmed(row["response"])
    if ":" not in response or "\n" not in response:
        return None
    numbered, plain = _marked_line(quality.runaway_markers)
    if (found := numbered.search(response)) and not numbered.match("\n" + response):
        return Hit("a later line of the response goes on to a numbered prompt", response[found.start() :].strip())
    if (found := plain.search(response)) and not _LABEL.match(response) and not _QUIZ.search(row["instruction"]):
        return Hit("a later line of the response goes on to a new prompt", response[found.start() :].strip())
    at = response.find("\nInput:")
    if at >= 0 and response.find("\nOutput:", at) >= 0 and not _LABEL.match(response) and not _FORM.match(response):
        return Hit("later lines of the response go on to a new input and its output", response[at:].strip())
    return None


_CONTROL_TOKEN = re.compile(
    r"<[|｜][A-Za-z][A-Za-z0-9_▁ -]{0,40}[|｜]>|<(?:start|end)_of_turn>|<</?SYS>>|</?(?:bos|eos|pad|unk)>|\[/INST\]"
)
_HEADING = re.compile(
    r"^[^\S\n]{0,20}#{3,6} ?(?:Instruction|Input|Response|Human|Assistant|User|System):", re.MULTILINE
)
_END_OF_OUTPUT = re.compile(
    r"(?:^|\s)[^\w\s]{1,20}\s?(?i:end of (?:the )?(?:output|response|answer|completion|text|example))\s?[^\w\s]{0,20}\Z"
    r"|[<\[({/#*-]{1,20}\s?(?:EOM|EOS|EOT|END)\s?[>\])}/#*-]{1,20}\Z"
)
_LABEL = re.compile(r"(?!(?:answer|a|response|output|instruction)\b)[^\W\d][\w .'/-]{0,40}?\d{0,9}[:：]", re.IGNORECASE)
_QUIZ = re.compile(r"\b(?:FAQs?|Q ?(?:&|and|/) ?As?|quiz|questions? (?:and|with) (?:their )?answers?)\b", re.IGNORECASE)
_FORM = re.compile(r"\W{0,9}(?:input|instructions?|task|prompt)\b", re.IGNORECASE)


@cache
def _marked_line(markers: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """A line that begins with a marker behind a number; one that begins with it as it is, in bold or as a heading.

    Vicuna's prompts write the markers in capitals; in small letters they are words of a sentence.
    """
    any_marker = "|".join(re.escape(form) for marker in markers for form in dict.fromkeys((marker, marker.upper())))
    return (
        re.compile(rf"\n[^\S\n]{{0,20}}\d{{1,9}}\.[^\S\n]{{0,20}}(?:{any_marker})"),
        re.compile(rf"\n[^\S\n]{{0,20}}(?:#{{1,6}}[^\S\n]?|\*\*)?(?:{any_marker})"),
    )
