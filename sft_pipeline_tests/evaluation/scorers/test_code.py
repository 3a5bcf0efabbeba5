"""Extraction and verdicts of the code scorer; what the sandbox withstands is tested in test_sandbox.py."""

import json
import textwrap

import pytest

from sft_pipeline.errors import DataError, SpecificationError
from sft_pipeline.evaluation.scorers import Item, code
from sft_pipeline_tests.time_limit import time_limit

ASSERTS = {"tests": "assert double(2) == 4", "entry_point": "double"}
HUMAN_EVAL = {
    "prefix": 'from typing import List\n\n\ndef total(xs: List[int]) -> int:\n    """ Sum of xs. """\n',
    "tests": "def check(candidate):\n    assert candidate([1, 2]) == 3\n",
    "entry_point": "total",
}
RIGHT = "def double(x):\n    return 2 * x\n"


def judge(output, reference=ASSERTS, **options):
    return code.score(Item("i1", "Do it.", "", "code", reference), output, {"timeout": 30, "memory_mb": 256} | options)


@pytest.mark.parametrize(
    "output",
    [
        RIGHT,
        f"Here it is:\n```python\n{RIGHT}```\nIt doubles.",
        f"```\r\n{RIGHT}```".replace("\n", "\r\n"),
        f"~~~py\n{RIGHT}~~~",
        f"```python\n{RIGHT.strip()}```",
        f"```python\n{RIGHT}",
        f"```bash\npip install doubles\n```\nthen\n```python\n{RIGHT}```",
        f"```python\nprint(double(3))\n```\nneeds\n```python\n{RIGHT}```",
        "1. Define it:\n\n   ```python\n   def double(x):\n       return 2 * x\n   ```\n2. Call it.",
        "\t```\n\tdef double(x):\n\t\treturn 2 * x\n\n\t```",
        f'```python title="double.py"\n{RIGHT}```',
        "double = lambda x: 2 * x",
    ],
)
def test_code_is_found_in_the_answer(output):
    assert judge(output).success


@pytest.mark.slow
@pytest.mark.parametrize(
    ("output", "label"),
    [
        ("", "no_code"),
        ("You should multiply by two.", "no_code"),
        ("```bash\nls\n```", "no_code"),
        ("```python\nwhile True: pass\n```", "timeout"),
        ("```python\nx = [0] * 10**10\n```", "memory"),
        ("```python\ndef double(x): return x\n```", "wrong"),
        ("```python\ndef double(x): return y\n```", "error"),
        ("```python\ndef double(x):\n```", "error"),
        ("```python\nassert False\n```", "error"),
        ("```python\nimport os; os._exit(0)\n```", "error"),
    ],
)
def test_a_failure_has_one_label_and_a_reason(output, label):
    score = judge(output, timeout=1 if label == "timeout" else 30)
    assert (score.success, score.labels) == (False, (label,)) and score.reason


@pytest.mark.parametrize(
    ("output", "success"),
    [
        ("    return sum(xs)\n", True),
        ("    return len(xs) + 1\n", True),
        ("    return 0\n", False),
        ("```python\ndef total(xs: List[int]) -> int:\n    return sum(xs)\n```", True),
        ("    return sum(xs)\n\n\ndef check(candidate):\n    pass\n", True),
        ("    return 0\n\n\ndef check(candidate):\n    pass\n", False),
    ],
)
def test_human_eval_goes_on_from_the_prefix_and_calls_check(output, success):
    assert judge(output, HUMAN_EVAL).success is success


@pytest.mark.parametrize(
    ("reference", "field"),
    [
        ({}, "tests"),
        ({"tests": "def test_it():\n    assert False\n"}, "tests"),
        ({"tests": "assert ("}, "tests"),
        ({"tests": ["assert True"]}, "tests"),
        ({"tests": "assert True", "entry_point": "a; b"}, "entry_point"),
    ],
)
def test_tests_that_would_let_everything_pass_are_an_error(reference, field):
    with pytest.raises(DataError, match=f"item i1.*reference.{field}"):
        judge(RIGHT, reference)


@pytest.mark.parametrize("name", ["timeout", "memory_mb"])
@pytest.mark.parametrize("value", [0, float("inf"), float("nan"), 1e300, "10"])
def test_a_limit_that_is_none_is_refused(name, value):
    with pytest.raises(SpecificationError, match=name):
        judge(RIGHT, **{name: value})


@pytest.mark.parametrize("piece", [" ", "~", "`", "```", "~~~\n", "```\n", "``` x\n", "\n ", "~" * 300_000 + "\n"])
def test_the_code_of_a_megabyte_is_found_soon(piece):
    with time_limit():
        code.extract(piece * (1_000_000 // len(piece)), "double")


@pytest.mark.real_data
@pytest.mark.slow
def test_human_evals_solutions_pass_the_examples_of_their_docstrings(real_data):
    # Those that fail, fail in doctest as well: problem 47's example is wrong, 51's has a line break within a string, 65
    # and 113 show strings in double quotes.
    tests = (
        "import doctest, sys\nresults = doctest.testmod(sys.modules['candidate'])\n"
        "assert results.attempted and not results.failed, results"
    )
    lines = (real_data / "decontaminator" / "test" / "HumanEval.jsonl").read_text().splitlines()[40:70]
    failed = [
        number
        for number, line in enumerate(lines, start=40)
        if ">>>" in line and not judge(f"```python\n{json.loads(line)['text']}```", {"tests": tests}).success
    ]
    assert failed == [47, 51, 65]


def forms(prompt, body, entry):
    """A right completion of a prompt, in the forms in which models write it."""
    whole, draft = prompt + body, f"```python\ndef {entry}(*args):\n    return None\n```\n"
    return {
        "as it is": body,
        "without the indent of its first line": body.strip(),
        "without one space": body.lstrip("\n")[1:],
        "without any indent": textwrap.dedent(body),
        "dedented, and runs on": f"{textwrap.dedent(body)}\n\nprint(undefined",
        "runs on into a test that was cut": f"{body}\n\n# Test the function\nassert candidate(",
        "runs on into a wrong test": f"{body}\n\nassert {entry}() == 'x'\nprint({entry}(1, 2, 3, 4))\n",
        "runs on into the next problem": f'{body}\n\ndef another(x: int) -> int:\n    """ Return x\n    >>> ',
        "runs on into a main": f"{body}\n\nif __name__ == 'candidate':\n    raise SystemExit(1)\n",
        "runs on into itself": f"{body}\n\ndef {entry}(*args):\n    return None\n",
        "runs on into prose": f"{body}\n\nThis function works because it is right.\n",
        "stripped, and runs on": f"{body.strip()}\n\n\nprint(undefined)\nclass Next:\n    def __init__(self",
        "end of text": f"{body}<|endoftext|>import nothing_such",
        "end of sequence": f"{body.rstrip()}</s>",
        "end of turn": f"{body.rstrip()}<|im_end|>\n<|im_start|>user\nThanks",
        "draft in a thought": f"<think>\nA draft:\n{draft}</think>\n```python\n{whole}```\nDone.",
        "draft in a thought that the prompt opened": f"A draft:\n{draft}</think>\n\n{body}",
        "fence": f"Here it is:\n\n```python\n{whole}```\n\nIt works.",
        "body in a fence": f"```python\n{body}```",
        "stripped body in a fence": f"```\n{body.strip()}\n```",
        "fence that was cut": f"```python\n{whole}",
        "fence with tests": f"```python\n{whole}\n\nprint({entry}())\nassert False\n```",
        "fence that the prompt opened": f"{body}```\n\nThis works.",
        "between prose": f"Sure, here is the function:\n\n{whole}\n\nI hope this helps!",
        "body behind prose": f"The body is:\n{body}",
        "prompt and body": f"{whole}<|eot_id|>",
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "prefix",
    [
        HUMAN_EVAL["prefix"],
        "def total(xs):\n",
        "import math\n\n\ndef half(x):\n    return x / 2\n\n\ndef total(xs):\n    '''Sum.'''\n",
    ],
)
@pytest.mark.parametrize("form", forms("", "    x\n", "f"))
def test_a_right_completion_is_found_in_any_form(prefix, form):
    body = "    result = 0\n    for x in xs:\n        if x:\n            result += x\n\n    return result\n"
    output = forms(prefix, body, "total")[form]
    reference = HUMAN_EVAL | {"prefix": prefix}
    assert judge(output, reference).success, judge(output, reference)


@pytest.mark.parametrize(
    "form", ["as it is", "without the indent of its first line", "runs on into a wrong test", "fence"]
)
def test_a_wrong_completion_stays_wrong_in_any_form(form):
    score = judge(forms(HUMAN_EVAL["prefix"], "    return len(xs)\n", "total")[form], HUMAN_EVAL)
    assert (score.success, score.labels, score.readable) == (False, ("wrong",), True)


@pytest.mark.parametrize(
    "output",
    [
        "SCALE = 2\n\n\ndef double(x):\n    return SCALE * x\n",
        "def double(x):\n    return SCALE * x\n\n\nSCALE = 2\n",
        "def double(x):\n    return helper(x)\n\n\ndef helper(x):\n    return 2 * x\n\n\nprint(double(None))\n",
        "from math import prod\n\ndouble = lambda x: prod((2, x))\nassert double(1) == 3",
        "class Doubler:\n    def run(self, x):\n        return 2 * x\n\n\ndef double(x):\n    return Doubler().run(x)\n",
        "@staticmethod\ndef double(x):\n    return 2 * x\n",
        "def double(x):\n    marks = ['<s>', '</s>', '<pad>']\n    return 2 * x if len(marks) == 3 else None\n",
        "Explanation\n\nimport math\n\ndef double(x):\n    return 2 * x\n\nExplanation",
    ],
)
@pytest.mark.parametrize("reference", [ASSERTS, {"tests": ASSERTS["tests"]}])
def test_what_the_program_needs_stays_and_its_own_tests_go(output, reference):
    assert judge(output, reference).success, judge(output, reference)


@pytest.mark.real_data
@pytest.mark.slow
def test_human_evals_solutions_score_in_every_form(real_data):
    lines = (real_data / "benchmarks" / "humaneval" / "HumanEval.jsonl").read_text("utf-8").splitlines()
    failed = []
    for k, row in enumerate(map(json.loads, lines[::6])):
        written = forms(row["prompt"], row["canonical_solution"], row["entry_point"])
        form = list(written)[k % len(written)]
        reference = {"prefix": row["prompt"], "entry_point": row["entry_point"], "tests": row["test"]}
        failed += [] if judge(written[form], reference).success else [(row["task_id"], form)]
    assert failed == []
