"""IFEval's published results, and references that lm-eval would complete by lot."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from sft_pipeline.errors import DataError, SpecificationError
from sft_pipeline.evaluation.scorers import Item, ifeval


def judge(output, ids, arguments, **options):
    return ifeval.score(
        Item("i1", "Write.", "", "t", {"instruction_id_list": ids, "kwargs": arguments}), output, options
    )


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.real_data
@pytest.mark.parametrize(("mode", "prompts", "followed"), [("strict", 417, 697), ("loose", 430, 712)])
@pytest.mark.slow
def test_gpt4s_published_results_come_out_within_one_item(real_data, mode, prompts, followed):
    folder = real_data / "ifeval"
    answers = {
        row["prompt"]: row["response"]
        for row in rows(folder / "input_response_data_gpt4_20231107_145030.podtech540.jsonl")
    }
    items = [row for row in rows(folder / "input_data.jsonl") if row["prompt"] in answers]
    scores = [
        ifeval.score(Item(str(row["key"]), row["prompt"], "", "t", row), answers[row["prompt"]], {"mode": mode})
        for row in items
    ]
    instructions = sum(len(row["instruction_id_list"]) for row in items)
    failed = sum(len(score.labels) for score in scores)
    assert len(items) == 540 and abs(sum(score.success for score in scores) - prompts) <= 1
    # Of 832 instructions; published as 0.8377 and 0.8558.
    assert instructions == 832 and abs(instructions - failed - followed) <= 1


def test_the_character_to_be_counted_may_be_any_and_is_never_drawn_by_lot():
    given = {"let_relation": "at least", "letter": "!", "let_frequency": 2}
    for _ in range(20):
        assert judge("Oh! Ah!", ["keywords:letter_frequency"], [given]).success
        assert not judge("Oh! Ah. eeeeeeeeee", ["keywords:letter_frequency"], [given]).success


def test_a_failure_names_the_instructions_that_were_not_followed():
    score = judge("Well, no.", ["punctuation:no_comma", "change_case:english_capital"], [{}, {}])
    assert score.labels == ("punctuation:no_comma", "change_case:english_capital")
    assert score.reason == "does not follow punctuation:no_comma, change_case:english_capital"
    assert judge("Sure, here:\nYes", ["punctuation:no_comma"], [{}], mode="loose").success
    assert not judge("Sure, here:\nYes", ["punctuation:no_comma"], [{}]).success


def test_null_means_that_an_argument_is_not_given():
    given = {"relation": "at least", "num_words": 3, "num_sentences": None, "capital_frequency": None}
    assert judge("one two three", ["length_constraints:number_words"], [given]).success


@pytest.mark.parametrize(
    ("ids", "arguments", "field"),
    [
        ([], [], "instruction_id_list"),
        (["punctuation:none"], [{}], "instruction_id_list"),
        (["punctuation:no_comma"], [], "kwargs"),
        (["punctuation:no_comma"], [None], "kwargs"),
        (["punctuation:no_comma"], [{"commas": 3}], "kwargs"),
        (["length_constraints:number_words"], [{"num_words": 300}], "kwargs"),
        (["length_constraints:number_words"], [{"relation": "at least", "num_words": -3}], "kwargs"),
        (["keywords:letter_frequency"], [{"let_relation": "at least", "letter": "ab", "let_frequency": 2}], "kwargs"),
        (["length_constraints:number_words"], [{"relation": "about", "num_words": 300}], "kwargs"),
    ],
)
def test_a_reference_that_lm_eval_would_misread_or_complete_by_lot_is_an_error(ids, arguments, field):
    with pytest.raises(DataError, match=f"item i1.*reference.{field}"):
        judge("one two three", ids, arguments)


def test_the_mode_is_strict_or_loose():
    with pytest.raises(SpecificationError, match="mode"):
        judge("x", ["punctuation:no_comma"], [{}], mode="medium")


@pytest.mark.slow
def test_neither_network_nor_torch_is_needed():
    # In a process of its own: here the modules are loaded and the tables written already.
    code = (
        "import socket, sys\n"
        "def refuse(*a, **k): raise AssertionError('network')\n"
        "socket.getaddrinfo = socket.socket.connect = refuse\n"
        "from sft_pipeline.evaluation.scorers import Item, ifeval\n"
        "given = {'num_sentences': 2, 'relation': 'at least'}\n"
        "item = Item('1', '', '', 't', {'instruction_id_list': ['length_constraints:number_sentences'], 'kwargs': [given]})\n"
        "assert ifeval.score(item, 'Mr. Smith went home. He slept.', {}).success\n"
        "assert not ifeval.score(item, 'Mr. Smith went home', {}).success\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_process_that_multiprocessing_started_leaves_no_folder_behind(tmp_path):
    # As a step of the lineage does: it ends by os._exit.
    code = (
        "import multiprocessing, sys, tempfile\n"
        "def step():\n"
        "    from sft_pipeline.evaluation.scorers import ifeval\n"
        "    print(ifeval._verifiers().data.name, flush=True)\n"
        "if __name__ == '__main__':\n"
        "    process = multiprocessing.get_context('forkserver').Process(target=step)\n"
        "    process.start()\n"
        "    process.join()\n"
        "    sys.exit(process.exitcode)\n"
    )
    script = tmp_path / "steps.py"
    script.write_text(code)
    # Short: the path of the forkserver's socket in it may have a hundred characters, and pytest's own folder is deep.
    with tempfile.TemporaryDirectory(prefix="sft") as folder:
        done = subprocess.run(
            [sys.executable, script], capture_output=True, text=True, env=os.environ | {"TMPDIR": folder}
        )
        assert done.returncode == 0, done.stderr
        assert folder in done.stdout and not list(Path(folder).glob("sft-pipeline-nltk-*"))
