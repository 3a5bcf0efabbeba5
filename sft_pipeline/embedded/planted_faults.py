"""Faults of the kind that real instruction data have, planted so that the quality stage has something to find.

A faulty row looks like any other row: same columns, same types. Which rows are faulty is told to the caller only.
"""

from random import Random
from typing import Any

Row = dict[str, Any]

RESPONSE_FAULTS = ("truncated", "empty", "placeholder", "runaway", "delimiter", "repetition", "echo")
COPY_FAULTS = ("exact_duplicate", "near_duplicate", "leak")
FAULTS = RESPONSE_FAULTS + COPY_FAULTS

_LONG = 6
"""Words that a response must have for its cut to be visible as one."""


def _spoil(row: Row, fault: str, other: Row, rng: Random) -> Row:
    """`row` with its response spoilt by `fault`; `other` is what a runaway goes on to."""
    response = row["response"]
    if fault == "truncated":
        words = response.split(" ")
        response = " ".join(words[: rng.randint(len(words) // 2, len(words) - 1)]).rstrip('.,!?"}')
    elif fault == "empty":
        response = rng.choice(("", " ", "\n"))
    elif fault == "placeholder":
        response = rng.choice(("noinput", "N/A", "TODO", "<placeholder>", "None."))
    elif fault == "runaway":
        response = f"{response}\nInstruction: {other['instruction']}\nResponse: {other['response']}"
    elif fault == "delimiter":
        marker = rng.choice(("###END###", "<|im_end|>"))
        response = rng.choice((f"{response} {marker}", f"{response}{marker}"))
    elif fault == "repetition":
        words = response.rstrip(".").split()[:4]
        response = " ".join(words * rng.randint(6, 10))
    elif fault == "echo":
        response = row["instruction"]
    return {**row, "response": response}


def _copy(row: Row, fault: str, rng: Random) -> Row:
    """A second row for what `row` asks: the same text, a touched-up text, or one whose group was lost as well."""
    instruction = row["instruction"]
    if fault == "near_duplicate":
        instruction = rng.choice(
            (instruction[0].lower() + instruction[1:], instruction.rstrip(".?") + "!", f" {instruction} ")
        )
    elif fault == "leak":
        instruction = rng.choice((f"{instruction} Thanks.", f"{instruction} Please.", f"Hello. {instruction}"))
    return {**row, "instruction": instruction, "group": row["group"] if fault == "exact_duplicate" else None}


def plant(rows: list[Row], spare: list[Row], rng: Random) -> tuple[list[Row], list[str | None]]:
    """Mix as many faulty rows as there are spare ones into clean rows.

    Args:
        rows: clean rows; all of them stay, and duplicates and leaks are made from them.
        spare: further clean rows; those whose response is to be spoilt are taken from here, so that a spoilt row is
            no duplicate of a clean one.
        rng: source of randomness.

    Returns:
        The shuffled rows and, in the same order, the name of each row's fault (None for a clean row).
    """
    mixed: list[tuple[Row, str | None]] = [(row, None) for row in rows]
    long_enough = [row for row in rows if len(row["instruction"].split()) >= _LONG + 2]
    faults = [FAULTS[i % len(FAULTS)] for i in range(len(spare))]
    # Long responses go to the fault that needs them.
    by_length = sorted(spare, key=lambda row: len(row["response"].split(" ")) < _LONG)
    for row, fault in zip(by_length, sorted(faults, key=lambda fault: fault != "truncated")):
        if fault in RESPONSE_FAULTS:
            mixed.append((_spoil(row, fault, rng.choice(rows), rng), fault))
        else:
            mixed.append((_copy(rng.choice(long_enough if fault == "leak" else rows), fault, rng), fault))
    rng.shuffle(mixed)
    return [row for row, _ in mixed], [fault for _, fault in mixed]
