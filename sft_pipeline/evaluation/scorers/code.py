"""The answer is a program that passes tests. It runs in the sandbox, and only where evaluation.run_code allows it."""

import ast
import re
from collections.abc import Mapping
from typing import Any

from sft_pipeline.errors import SpecificationError
from sft_pipeline.evaluation.scorers.item import Item, Score
from sft_pipeline.evaluation.scorers.text import excerpt
from sft_pipeline.evaluation.scoring import sandbox

OPTIONS = {"timeout", "memory_mb"}
VERIFIER = True

MOST = 1_000_000
"""Largest limit: more is no limit, and beyond what the system's calls take."""

# Possessive, and no fence longer than anybody writes: the search must stay linear in what a model repeats for ever.
_BLOCK = re.compile(r"^([ \t]*+)(`{3,20}+|~{3,20}+)([^`\n]*+)\n(.*?)(?:^[ \t]*+\2|\2[ \t]*+$|\Z)", re.M | re.S)
_LANGUAGES = ("", "python", "python3", "py")
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)


def score(item: Item, output: str, options: Mapping[str, Any]) -> Score:
    """Run the answer's code, then reference["tests"] in the same namespace.

    `tests` are statements that raise an exception where the code is wrong (MBPP's asserts), or a function `check` that is
    called with reference["entry_point"] (HumanEval). reference["prefix"] is code that was given with the prompt: the answer
    goes on from it, or stands after it where it defines the entry point itself.

    Labels of failures: `no_code`, `timeout`, `memory`, `wrong` (a test's assertion), `error` (everything else).

    Raises:
        DataError: there are no tests, or they call nothing.
        SpecificationError: `timeout` (seconds, 10) or `memory_mb` (MiB, 1024) is no positive number up to MOST.
    """
    seconds, memory = _positive("timeout", options, 10), int(_positive("memory_mb", options, 1024))
    entry, prefix = _text(item, "entry_point"), _text(item, "prefix")
    if entry and not entry.isidentifier():
        raise item.wrong("reference.entry_point", f"{excerpt(entry)!r} is no name")
    code, fenced = extract(output, entry)
    if not code.strip():
        return Score(False, "no code in the answer", ("no_code",), readable=False)
    run = sandbox.run(_program(prefix, code, entry), _tests(item, entry), seconds, memory)
    if run.passed:
        return Score(True)
    if run.timed_out:
        return Score(False, f"did not end within {seconds:g} s", ("timeout",))
    if run.error == "SyntaxError" and run.phase == "code" and not fenced:
        reason = "no code block, and the answer as a whole is no program"
        return Score(False, reason, ("no_code",), readable=False)
    if not run.error:
        return Score(False, f"ended its process ({run.exit_code}) before the tests were through", ("error",))
    reason = f"{run.error}: {excerpt(run.message, 120)}" if run.message else run.error
    if run.error == "MemoryError":
        return Score(False, f"needs more than {memory} MiB", ("memory",))
    if run.error == "AssertionError" and run.phase == "tests":
        return Score(False, f"fails a test ({reason})", ("wrong",))
    return Score(False, f"{reason} in the {run.phase}", ("error",))


def extract(output: str, entry: str) -> tuple[str, bool]:
    """The code of an answer, and whether it stood in a fence.

    Of several blocks, marked as Python or not at all, it is the first that defines `entry`, else the first. The mark is
    the first word after the fence; as much as the fence is indented, within a list, so are its lines. A block that was
    cut goes to the end of the answer; an answer without any block is taken whole.
    """
    found = _BLOCK.findall(output.replace("\r\n", "\n"))
    if not found:
        return output, False
    blocks = [
        re.sub(rf"^[ \t]{{1,{len(indent)}}}", "", code, flags=re.M) if indent else code
        for indent, _, info, code in found
        if info.strip().partition(" ")[0].lower() in _LANGUAGES
    ]
    return next((code for code in blocks if entry and _defines(code, entry)), blocks[0] if blocks else ""), True


def _program(prefix: str, code: str, entry: str) -> str:
    return f"{prefix}\n\n{code}" if entry and _defines(code, entry) else prefix + code


def _defines(code: str, name: str) -> bool:
    return re.search(rf"^(?:(?:async[ \t]+)?def|class)[ \t]+{name}\b|^{name}[ \t]*=", code, re.M) is not None


def _tests(item: Item, entry: str) -> str:
    tests = _text(item, "tests")
    try:
        tree = ast.parse(tests)
    except (SyntaxError, ValueError) as error:
        raise item.wrong("reference.tests", f"is not Python: {error}") from error
    if entry and any(isinstance(node, ast.FunctionDef) and node.name == "check" for node in tree.body):
        return f"{tests}\n\ncheck({entry})\n"
    if all(isinstance(node, _DEFINITIONS) for node in tree.body):
        raise item.wrong("reference.tests", "calls nothing, so every answer would pass")
    return tests


def _text(item: Item, name: str) -> str:
    text = item.reference.get(name, "")
    if not isinstance(text, str):
        raise item.wrong(f"reference.{name}", f"must be text, not {type(text).__name__}")
    return text


def _positive(name: str, options: Mapping[str, Any], default: float) -> float:
    value = options.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MOST:
        raise SpecificationError(
            f"evaluation.scorers: option {name} of the scorer code must be a positive number up to {MOST}"
        )
    return value
