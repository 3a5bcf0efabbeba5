"""The answer is a program that passes tests. It runs in the sandbox, and only where evaluation.run_code allows it.

What a model writes around its program is taken away before: a draft in <think>, prose, fences, special tokens, and what runs on
behind the function, such as tests of its own, prints or the next problem. A completion may lack the indent of its first line.
"""

import ast
import re
import textwrap
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from sft_pipeline.errors import SpecificationError
from sft_pipeline.evaluation.scorers.item import Item, Score
from sft_pipeline.evaluation.scorers.text import excerpt, own_turn, without_thought
from sft_pipeline.evaluation.scoring import sandbox
from sft_pipeline.provenance import subprocess_call

OPTIONS = {
    "timeout": "Seconds that program and tests may take (10).",
    "memory_mb": "MiB of address space that they may have (1024).",
}
REFERENCE = {
    "tests": "Statements that raise an exception where the program is wrong, or a function check.",
    "entry_point": "Name of the function that is tested; check is called with it.",
    "prefix": "Code that was given with the prompt; the answer continues it, or repeats it.",
}
VERIFIER = True

MOST = 1_000_000
"""Largest limit: more is no limit, and beyond what the system's calls take."""

# Possessive, and no fence longer than anybody writes: the search must stay linear in what a model repeats for ever.
_BLOCK = re.compile(r"^([ \t]*+)(`{3,20}+|~{3,20}+)([^`\n]*+)\n(.*?)(?:^[ \t]*+\2|\2[ \t]*+$|\Z)", re.M | re.S)
_LANGUAGES = ("", "python", "python3", "py")
_START = re.compile(r"(?:from|import|def|class|async|@)\b|@")
_INDENT = "    "

SECONDS = 2.0
"""Processor time in which the program must be found in an answer."""

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)


def score(item: Item, output: str, options: Mapping[str, Any]) -> Score:
    """Run the answer's code, then reference["tests"] in the same namespace.

    `tests` are statements that raise an exception where the code is wrong (MBPP's asserts), or a function `check` that is
    called with reference["entry_point"] (HumanEval). reference["prefix"] is code that was given with the prompt: the answer
    continues it, or replaces it from the entry point on where it defines that itself.

    Labels of failures: `no_code`, `timeout`, `memory`, `wrong` (a test's assertion), `error` (everything else).

    Raises:
        DataError: there are no tests, or they call nothing.
        SpecificationError: `timeout` (seconds, 10) or `memory_mb` (MiB, 1024) is no positive number up to MOST.
    """
    seconds, memory = _positive("timeout", options, 10), int(_positive("memory_mb", options, 1024))
    entry, prefix = _text(item, "entry_point"), _text(item, "prefix")
    if entry and not entry.isidentifier():
        raise item.wrong("reference.entry_point", f"{excerpt(entry)!r} is no name")
    tests = _tests(item, entry)
    try:
        code, fenced = subprocess_call.call(__name__, "program", output, prefix, entry, tests, seconds=SECONDS)
    except subprocess_call.Exhausted:  # nested as deeply as nobody writes: let it fail in the sandbox
        code, fenced = prefix + output, False
    if not code.strip():
        return Score(False, "no code in the answer", ("no_code",), readable=False)
    run = sandbox.run(code, tests, seconds, memory)
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


def program(output: str, prefix: str, entry: str, tests: str) -> tuple[str, bool]:
    """The module to be run: the answer's code behind the prefix; and whether it stood in a fence.

    Empty where the answer has no code. Where nothing in the answer is Python, it is the whole of it.
    """
    text = without_thought(output.replace("\r\n", "\n"))
    code, fenced, candidates = "", False, list[str]()
    for part in dict.fromkeys((text, own_turn(text))):  # what looks like a special token may belong to the program
        code, fenced = extract(part, entry)
        candidates = list(_candidates(code, prefix, entry)) if code.strip() else []
        for source in candidates:
            if _error_line(source) is None and not (prefix and _leaves_a_stub(source)):
                return _without_own_tests(source, entry, tests), fenced
    if not code.strip():
        return "", fenced
    begun = [kept for candidate in candidates if (kept := _without_rest(candidate, len(prefix))) is not None]
    if begun := [source for source in begun if not (prefix and _leaves_a_stub(source))]:
        return _without_own_tests(max(begun, key=len), entry, tests), fenced  # the one of which least is cut off
    return (f"{prefix}\n\n{code}" if entry and _defines(code, entry) else prefix + code), fenced


def extract(output: str, entry: str) -> tuple[str, bool]:
    """The code of an answer, and whether it stood in a fence.

    Of several blocks, marked as Python or not at all, it is the first that defines `entry`, else the first. The mark is
    the first word after the fence; as much as the fence is indented, within a list, so are its lines. A block that was
    cut goes to the end of the answer; an answer without any block is taken whole, and so is what stands before a fence that
    only closes one which the prompt opened.
    """
    found = list(_BLOCK.finditer(output.replace("\r\n", "\n")))
    if not found:
        return output, False
    before = found[0].string[: found[0].start()]
    if not found[0][3].strip() and re.search(r"^(?:[ \t]+|return\b)", before.lstrip("\n")) and before.strip():
        return before, True
    blocks = [
        re.sub(rf"^[ \t]{{1,{len(indent)}}}", "", code, flags=re.M) if indent else code
        for indent, _, info, code in (block.groups() for block in found)
        if info.strip().partition(" ")[0].lower() in _LANGUAGES
    ]
    return next((code for code in blocks if entry and _defines(code, entry)), blocks[0] if blocks else ""), True


def _candidates(code: str, prefix: str, entry: str) -> Iterator[str]:
    """Modules that the code of an answer may be meant as, the most literal first."""
    lines = code.split("\n")
    starts = [0, *(k for k, line in enumerate(lines) if k and _START.match(line))]
    if entry and _defines(code, entry):
        if prefix and code.lstrip("\n")[:1] in (" ", "\t"):  # a body, and further on another definition
            yield prefix + code
        complete = _before_definition(prefix, entry)
        for start in starts[:20]:  # behind prose
            yield f"{complete}\n\n" + "\n".join(lines[start:])
        return
    yield prefix + code
    if not prefix:
        for start in starts[1:20]:
            yield "\n".join(lines[start:])
        return
    indent = _body_indent(prefix, entry)
    first = next((k for k, line in enumerate(lines) if line.strip()), 0)
    prose = next((k for k, line in enumerate(lines) if line.startswith((" ", "\t")) and line.strip()), first)
    for start in dict.fromkeys((first, prose)):
        rest = lines[start + 1 :]
        begun = prefix if prefix.endswith("\n") else f"{prefix}\n"
        yield begun + "\n".join([indent + lines[start].lstrip(), *rest])
        yield begun + textwrap.indent(textwrap.dedent("\n".join(lines[start:])), indent)


def _before_definition(prefix: str, entry: str) -> str:
    found = re.search(rf"^(?:async[ \t]+)?(?:def|class)[ \t]+{entry}\b", prefix, re.M)
    return prefix[: found.start()] if found else prefix


def _body_indent(prefix: str, entry: str) -> str:
    """The indent of the body of the prefix's last function."""
    body = re.search(r"[ \t]+(?=\S)", prefix[prefix.rfind("\ndef ") + 1 :].partition(":\n")[2])
    return body[0] if body and body.start() == 0 else _INDENT


def _without_rest(source: str, least: int) -> str | None:
    """`source` up to the last top-level statement before a syntax error; None where that is not behind `least` characters.

    What runs on behind a function is often cut in the middle, or prose.
    """
    for _ in range(50):
        line = _error_line(source)
        if line is None:
            return source if source[least:].strip() else None
        lines = source.split("\n")[: line - 1] if line > 0 else []
        top = max((k for k, text in enumerate(lines) if text[:1].strip()), default=0)
        shorter = "\n".join(lines)
        if _error_line(shorter) is None and shorter[least:].strip():
            return shorter
        source = "\n".join(lines[:top])
        if len(source) <= least:
            return None
    return None


def _error_line(source: str) -> int | None:
    """The line of the first syntax error; None where there is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as an invalid escape in what a model wrote
            compile(source, "code", "exec", dont_inherit=True)
    except SyntaxError as error:
        return error.lineno or 0
    except (ValueError, RecursionError, MemoryError, OverflowError):
        return 0
    return None


def _without_own_tests(source: str, entry: str, tests: str) -> str:
    """`source` without what a model does behind the definition that is tested: its own tests, prints, another version of it."""
    body = ast.parse(source).body
    tested = {entry} if entry else {node.id for node in ast.walk(ast.parse(tests)) if isinstance(node, ast.Name)}
    first: dict[str, int] = {}
    for k, node in enumerate(body):
        for name in () if _is_stub(node) else _defined(node) & tested:
            first.setdefault(name, k)
    if not first:
        return source
    behind = max(first.values())
    kept = [
        node
        for k, node in enumerate(body)
        if (k <= behind and not _is_word(node)) or (_defines_only(node) and not _defined(node) & first.keys())
    ]
    return source if len(kept) == len(body) else ast.unparse(ast.Module(kept, []))


def _is_word(node: ast.stmt) -> bool:
    """Whether a statement only names something, as a line of prose of one word does."""
    return isinstance(node, ast.Expr) and not any(isinstance(inner, ast.Call | ast.Await) for inner in ast.walk(node))


def _defined(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    return (
        {target.id for target in node.targets if isinstance(target, ast.Name)}
        if isinstance(node, ast.Assign)
        else set()
    )


def _is_stub(node: ast.stmt) -> bool:
    """Whether a function does nothing yet, as the one of a prompt: a docstring, imports."""
    return isinstance(node, ast.FunctionDef) and all(
        isinstance(inner, ast.Import | ast.ImportFrom | ast.Pass)
        or (isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Constant))
        for inner in node.body
    )


def _leaves_a_stub(source: str) -> bool:
    """Whether a function that the prefix began has got no body, because the code stands beside it."""
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    done = {node.name for node in functions if not _is_stub(node)}
    return any(_is_stub(node) and node.name not in done for node in functions)


def _defines_only(node: ast.stmt) -> bool:
    if isinstance(node, ast.Assign | ast.AnnAssign):
        return not any(isinstance(inner, ast.Call) for inner in ast.walk(node))
    return isinstance(node, _DEFINITIONS)


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
