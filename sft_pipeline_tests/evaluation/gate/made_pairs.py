"""Judged pairs made from what is to be true of them: texts of a given length that hold an answer, say nothing, or repeat."""

import random
from typing import Any

from sft_pipeline.evaluation.gate.pairs import Answer, Pair

WORDS = [
    "river",
    "stone",
    "garden",
    "window",
    "paper",
    "yellow",
    "market",
    "bridge",
    "winter",
    "letter",
    "silver",
    "candle",
    "forest",
    "mirror",
    "ladder",
    "pocket",
    "travel",
    "simple",
    "hollow",
    "copper",
    "basket",
    "thunder",
    "meadow",
    "ribbon",
    "anchor",
    "velvet",
    "pepper",
    "saddle",
    "walnut",
    "harbor",
]


def text(rng: random.Random, length: int) -> str:
    """Words without a meaning, of exactly so many characters; the empty text of length 0."""
    made = ""
    while len(made) < length:
        made += rng.choice(WORDS) + " "
    return made[: length - 1].rstrip().ljust(length - 1, "e") + "." if length else ""


def pair(
    id: str,
    type: str,
    base: bool | None,
    sft: bool | None,
    base_length: int = 30,
    sft_length: int = 30,
    cluster: str | None = None,
    **known: Any,
) -> Pair:
    """A pair whose texts fit `known`: by model `…_text`, `…_has_answer`, `…_repetitive`, `…_cut`, `…_lenient`, `…_tokens`,
    `…_words`, `…_labels`, `…_readable`; of both `same_text`; of the item `expected`, `verified`, `compared`, `length_free`.
    """
    rng = random.Random(f"{id} {type}")
    looked_for = any(known.get(f"{m}_has_answer") is not None for m in ("base", "sft"))
    expected = known.pop("expected", f"kwyj{id}" if looked_for else "")
    answers = []
    for model, success, length in (("base", base, base_length), ("sft", sft, sft_length)):
        own = {name[len(model) + 1 :]: known.pop(name) for name in list(known) if name.startswith(f"{model}_")}
        output = own.get("text")
        if output is None:
            output = " ".join(rng.choice(WORDS) for _ in range(own["words"])) if "words" in own else text(rng, length)
            if own.get("has_answer", success) and looked_for:
                output = f"{output[: max(0, len(output) - len(expected) - 1)]} {expected}"
            if own.get("repetitive"):
                output = "around and around it goes " * 12
        fields = {name: own[name] for name in ("cut", "lenient", "tokens", "labels", "readable") if name in own}
        answers.append(Answer(output, success, **fields))
    if known.pop("same_text", False):
        answers[1] = Answer(answers[0].output, sft)
    if known.pop("tied", False):
        answers = [Answer(a.output, a.success, labels=("tie",)) for a in answers]
    return Pair(id, type, *answers, expected=expected, cluster=cluster, **known)


def pairs(both: int = 0, lost: int = 0, won: int = 0, neither: int = 0, type: str = "t", **known: Any) -> list[Pair]:
    """Pairs whose lengths tell nothing, by their counts."""
    rng = random.Random(3)
    table = [(True, True)] * both + [(True, False)] * lost + [(False, True)] * won + [(False, False)] * neither
    return [
        pair(f"{type}{k}", type, base, sft, rng.randint(20, 60), rng.randint(20, 60), **known)
        for k, (base, sft) in enumerate(table)
    ]
