"""Equality of mathematical expressions by math-verify; imported in the process of subprocess_call.py alone, for sympy is slow."""

import logging

from math_verify import parse, verify

# Its own time limits are alarms of whole seconds that cannot end a call into C; the process has a limit instead.
logging.getLogger("math_verify").setLevel(logging.ERROR)


def compare(gold: str, output: str) -> tuple[bool | None, str]:
    """Whether the expressions are equal (None: `gold` holds none), and what was read in `output`."""
    expected = parse(gold, parsing_timeout=None)
    if not expected:
        return None, ""
    given = parse(output, parsing_timeout=None)
    return verify(expected, given, timeout_seconds=None), next((text for text in given if isinstance(text, str)), "")
