"""The leakage command finds what is hidden in conversations, and reports what it did not compare."""

import json

import pytest
from typer.testing import CliRunner

from sft_pipeline.cli import app


@pytest.fixture
def prove(tmp_path):
    row = {"instruction": "Name the longest river of the continent.", "response": "It is the Nile."}
    for side, text in (("train", row), ("test", {"instruction": "Who wrote the second part of Faust?"})):
        (tmp_path / side).mkdir()
        (tmp_path / side / "rows.jsonl").write_text(json.dumps(text) + "\n")
    return lambda: CliRunner().invoke(app, ["leakage", str(tmp_path / "train"), str(tmp_path / "test")])


def test_what_is_not_read_is_reported(prove, tmp_path):
    (tmp_path / "train" / "README.md").write_text("text")
    done = prove()
    assert done.exit_code == 0 and "note: train: not read, another kind of file: README.md" in done.output, done.output


@pytest.mark.parametrize("side", ["train", "test"])
def test_data_that_would_not_be_read_is_refused_on_both_sides(prove, tmp_path, side):
    (tmp_path / side / "more.jsonl.gz").write_bytes(b"\x1f\x8b\x08")
    done = prove()
    assert done.exit_code == 2 and "more.jsonl.gz" in done.output, done.output


@pytest.fixture
def compare(tmp_path):
    """Run the command over training conversations and test questions."""

    def run(train: list[dict], test: list[str], *options: str):
        (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in train))
        (tmp_path / "test.jsonl").write_text("".join(json.dumps({"question": text}) + "\n" for text in test))
        return CliRunner().invoke(
            app, ["leakage", *(str(tmp_path / f"{s}.jsonl") for s in ("train", "test")), *options]
        )

    return run


NAMES = ("Newton", "Curie", "Darwin", "Noether", "Turing", "Euler", "Gauss", "Bohr", "Hubble", "Planck")


def talk(*messages: str) -> dict:
    roles = ("system", "user", "assistant", "user", "assistant")
    return {"messages": [{"role": role, "content": text} for role, text in zip(roles, messages)]}


@pytest.mark.parametrize("turn", ["first", "later", "system"])
def test_a_short_question_is_found_wherever_it_stands_in_a_conversation(compare, turn):
    asked = [f"Who was {name}?" for name in NAMES]
    place = {"first": 1, "later": 3, "system": 0}[turn]
    rows = []
    for n, text in enumerate(asked):
        messages = [
            f"You are assistant {n % 2}.",
            f"Say something of number {n}.",
            "Gladly.",
            f"And of {n * n}?",
            "Yes.",
        ]
        messages[place] = text
        rows.append(talk(*messages))
    done = compare(rows, asked)
    assert done.exit_code == 1 and "10 exact" in done.output, done.output
    assert compare(rows, ["Who was Kepler?", "Who painted the ceiling of this house?"]).exit_code == 0


def test_a_long_question_in_a_later_answer_is_found(compare):
    item = "Please list the seven largest lakes of the country in the order of their depth and say who found them"
    row = talk("Be kind.", "Ask me something.", "What?", "Anything.", f"Well then: {item}?")
    done = compare([row], [item])
    assert done.exit_code == 1 and "1 more than the limit" in done.output, done.output


def test_the_verdict_says_what_was_not_compared_and_the_file_holds_every_leak(compare, tmp_path):
    clean = compare([{"instruction": "Name a river.", "output": "The Nile.", "history": "long"}], ["Who wrote Faust?"])
    assert clean.exit_code == 0
    assert "leaks: none found by these comparisons" in clean.output
    for what in (
        "rephrased items",
        "'history' (1 rows) of the training rows",
        "1 of the 1 test items inside longer lines",
    ):
        assert f"not compared: {what}" in clean.output or what in clean.output, clean.output
    texts = [f"What is {n} and {n * n + 7} together, please?" for n in range(250)]
    done = compare([{"instruction": t, "output": "x"} for t in texts], texts, "--out", str(tmp_path / "proof.json"))
    leaks = json.loads((tmp_path / "proof.json").read_text())["leaks"]
    assert done.exit_code == 1 and "--out writes all of them to a file" in done.output
    assert sum(leak["tier"] == "exact" for leak in leaks) == len(texts)
