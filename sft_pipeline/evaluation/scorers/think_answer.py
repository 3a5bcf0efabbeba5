"""The answer thinks and then answers, `<think>…</think> <answer>…</answer>`, and what it answers is right.

The categories are those of common R1-style evaluations: correct, wrong answer, format failure; and why a format failed.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sft_pipeline.errors import SpecificationError
from sft_pipeline.evaluation.scorers import exact, math, numeric
from sft_pipeline.evaluation.scorers.item import Item, Score

OPTIONS = {
    "inner": "Scorer of what stands inside of <answer>: math (the default), numeric or exact.",
    "prompt_opens_think": "true where the prompt ends in <think>, so that the output begins inside of it; false by default.",
}
REFERENCE = {
    "answer": "The expected answer; without it, the row's response.",
}
VERIFIER = True

CORRECT, WRONG, FORMAT = "correct", "wrong_answer", "format_failure"
"""Labels of which every judged answer has exactly one; a format failure has those of `format_failures` besides."""

INNER = {"math": math, "numeric": numeric, "exact": exact}
TAGS = ("<think>", "</think>", "<answer>", "</answer>")


def score(item: Item, output: str, options: Mapping[str, Any]) -> Score:
    """Check the format, then compare what stands in the answer with the scorer that the option `inner` names.

    `inner` is math (the default), numeric or exact. With the option `prompt_opens_think` the prompt ends in <think>, and
    the output starts inside of it. What follows the first </answer> is ignored. Where the expected response has the
    format itself, its own answer is the expected one.

    Raises:
        SpecificationError: an option that is none of these.
        DataError: what the inner scorer raises.
    """
    inner, opened = options.get("inner", "math"), options.get("prompt_opens_think", False)
    if inner not in INNER or not isinstance(opened, bool):
        raise SpecificationError(
            "evaluation.scorers: of the scorer think_answer the option inner is "
            f"{', '.join(sorted(INNER))} and prompt_opens_think is true or false; got {inner!r} and {opened!r}"
        )
    if failures := format_failures(output, opened):
        return Score(False, f"format: {', '.join(failures)}", (FORMAT, *failures), readable=False)
    if not format_failures(item.response, opened):
        item = replace(item, response=_answer(item.response))
    judged = INNER[inner].score(item, _answer(output), {})
    if judged.success is None:
        return judged
    return replace(judged, labels=(CORRECT if judged.success else WRONG,))


def format_failures(output: str, opened: bool) -> tuple[str, ...]:
    """Why `output` has not the format; several reasons may hold.

    - missing_think: no <think>, which the prompt did not open either.
    - missing_think_end, missing_answer, missing_answer_end: no </think>, <answer>, </answer>.
    - wrong_order: the tags up to the first </answer> do not stand in their order, or one stands there twice.
    - incomplete: begun, and over before an </answer>: most often cut at the limit of new tokens.
    """
    if opened and not output.lstrip().startswith(TAGS[0]):
        output = TAGS[0] + output
    names = ("missing_think", "missing_think_end", "missing_answer", "missing_answer_end")
    failures = [name for name, tag in zip(names, TAGS, strict=True) if tag not in output]
    head, end, _ = output.partition(TAGS[3])
    head += end
    places = [head.find(tag) for tag in TAGS if tag in head]
    if places != sorted(places) or any(head.count(tag) > 1 for tag in TAGS):
        failures.append("wrong_order")
    elif not end and places:
        failures.append("incomplete")
    # A tag that comes only after the first </answer>, where it is ignored, is out of order.
    if not failures and len(places) < len(TAGS):
        failures.append("wrong_order")
    return tuple(failures)


def _answer(text: str) -> str:
    return text.partition(TAGS[3])[0].rpartition(TAGS[2])[2].strip()
