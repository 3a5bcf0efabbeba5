"""Schemas: fields that are recognised by name, the explicit mapping, and the verdicts of critics."""

import json
from collections import Counter

import pytest

from sft_pipeline.dataset.source import mapping, schema
from sft_pipeline.dataset.source.items import Unreadable
from sft_pipeline.experiment import Columns, Conversations

VERDICT = {
    "is_good": True,
    "predicted_label": "A",
    "logp_a": -0.1,
    "logp_b": -3,
    "margin": 2.9,
    "confident": True,
}


def read(row, columns=None):
    fields = schema.recognise(row, columns or Columns())
    assert fields, schema.lacking(row, columns or Columns())
    (made,) = mapping.pairs(row, fields, Conversations(), "all", Counter())
    return made


def test_the_critiques_of_a_stage_1_record_become_verdicts():
    row = {
        "instruction": "i",
        "response": "r",
        "prompt": "Instruction: i\nResponse:",
        "completion": " r",
        "metadata": {},
    }
    row |= {"instruction_critique": VERDICT, "pair_critique": {**VERDICT, "is_good": False, "note": "x"}}
    made = read(row)
    assert (made["instruction"], made["response"]) == ("i", "r")
    assert json.loads(made["critics"]) == {"instruction": VERDICT, "pair": {**VERDICT, "is_good": False}}
    assert made["critics"] == json.dumps(json.loads(made["critics"]), sort_keys=True, separators=(",", ":"))
    assert schema.recognise(row, Columns()).name == "stage-1 record"


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "p", "completion": "c"},
        {"question": "p", "answer": "c"},
        {"messages": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "c"}]},
    ],
)
def test_critiques_are_taken_in_every_schema(row):
    made = read({**row, "pair_critique": {"is_good": True, "margin": None}, "instruction_critique": None})
    assert (made["instruction"], made["response"]) == ("p", "c")
    assert made["critics"] == '{"pair":{"is_good":true}}'


def test_critiques_are_taken_under_an_explicit_mapping():
    made = read({"q": "p", "a": "c", "pair_critique": {"is_good": False}}, Columns(instruction="q", response="a"))
    assert made["critics"] == '{"pair":{"is_good":false}}'


def test_rows_without_a_critique_have_no_verdict():
    assert read({"prompt": "p", "completion": "c", "pair_critique": None})["critics"] is None
    assert read({"prompt": "p", "completion": "c"})["critics"] is None


@pytest.mark.parametrize(
    ("critique", "reason"),
    [
        ("good", "field 'pair_critique' is text, not an object"),
        ({}, "field 'pair_critique.is_good' is missing or null"),
        ({"is_good": "yes"}, "field 'pair_critique.is_good' is text, not true or false"),
        ({"is_good": 1}, "field 'pair_critique.is_good' is a number, not true or false"),
        ({**VERDICT, "margin": "2"}, "field 'pair_critique.margin' is text, not a finite number"),
        ({**VERDICT, "logp_a": True}, "field 'pair_critique.logp_a' is true or false, not a finite number"),
        ({**VERDICT, "logp_b": float("nan")}, "field 'pair_critique.logp_b' is a number, not a finite number"),
        ({**VERDICT, "predicted_label": 1}, "field 'pair_critique.predicted_label' is a number, not text"),
        ({**VERDICT, "predicted_label": "\ud800"}, "field 'pair_critique.predicted_label' holds a lone surrogate"),
        ({**VERDICT, "confident": None, "is_good": None}, "field 'pair_critique.is_good' is missing or null"),
    ],
)
def test_a_critique_of_another_shape_makes_the_row_unreadable(critique, reason):
    with pytest.raises(Unreadable) as error:
        read({"prompt": "p", "completion": "c", "pair_critique": critique})
    assert reason in str(error.value)


def test_messages_are_mapped_explicitly_too():
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    made = read({"prompt": "x", "completion": "y", "chat": talk, "kind": "t"}, Columns(messages="chat", type="kind"))
    assert (made["instruction"], made["response"], made["type"]) == ("q", "a", "t")


def test_texts_come_before_messages_and_messages_before_nothing():
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    assert read({"messages": talk, "instruction": "i", "response": "r"})["instruction"] == "i"
    assert read({"messages": talk, "prompt": "i"})["instruction"] == "q"


def test_an_input_beside_a_response_is_no_less_an_input():
    assert read({"instruction": "Add.", "input": "1, 2", "response": "3"})["instruction"] == "Add.\n1, 2"


@pytest.mark.parametrize("symbols", ["😂", "+", "->", "{}", "== ★★★", "... --- ..."])
def test_an_input_of_symbols_is_an_input(symbols):
    made = read({"instruction": "What does this mean?", "input": symbols, "output": "x"})
    assert made["instruction"] == f"What does this mean?\n{symbols}"


@pytest.mark.parametrize("none", ["", " ", "-", "--", "—", "<noinput>", "N/A."])
def test_white_space_dashes_and_words_for_none_are_no_input(none):
    assert read({"instruction": "Greet.", "input": none, "output": "x"})["instruction"] == "Greet."


MAPPED = Columns(instruction="q", response="a", type="kind", group="doc", reference="gold")


@pytest.mark.parametrize("none", [{}, {"kind": "", "doc": "", "gold": " "}, dict.fromkeys(("kind", "doc", "gold"))])
def test_a_row_without_a_value_in_an_optional_column_has_none(none):
    """A column of JSON Lines that is left out, an empty cell of a CSV file, a null of Parquet."""
    fields, tally = schema.recognise({"q": "p", "a": "c", **none}, MAPPED), Counter()
    (made,) = mapping.pairs({"q": "p", "a": "c", **none}, fields, Conversations(), "all", tally)
    assert (made["type"], made["group"], made["reference"]) == ("all", None, None)
    assert tally == {"rows carry no 'kind' and were given the type 'all'": 1}


def test_a_prompt_and_a_completion_of_messages_are_one_conversation():
    """As TRL writes them."""
    row = {"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]}
    row["completion"] = [{"role": "assistant", "content": "a"}]
    assert (read(row)["instruction"], read(row)["response"]) == ("s\nq", "a")
    with pytest.raises(Unreadable, match="field 'prompt' is a list, not text"):
        read(row | {"completion": "a"})
    row["completion"].append({"role": "user", "content": "more"})
    with pytest.raises(Unreadable, match=r"field 'prompt \+ completion' goes on after the first exchange"):
        read(row)


@pytest.mark.parametrize(("text", "reason"), [("a\x00b", "NUL"), ("\ud800", r"lone surrogate \(U\+D800\)")])
@pytest.mark.parametrize("talk", [True, False])
def test_what_a_file_or_a_browser_cannot_hold_is_refused(text, reason, talk):
    messages = [{"role": "user", "content": text}, {"role": "assistant", "content": "a"}]
    with pytest.raises(Unreadable, match=reason):
        read({"messages": messages} if talk else {"prompt": text, "completion": "c"})


@pytest.mark.parametrize(
    "text", ["🙂", "שלום עולם", "\u202eright to left", "<script>alert(1)</script>", "=1+1", "a\r\nb"]
)
def test_every_other_text_is_taken_as_it_is(text):
    made = read({"prompt": text, "completion": text})
    assert (made["instruction"], made["response"]) == (text, text)


def test_verdicts_of_the_pipelines_own_rows_come_back_and_are_checked():
    row = dict.fromkeys(("id", "instruction", "response", "type", "source_file"), "x") | {"source_row": 1}
    row |= {"group": None, "reference": None, "critics": '{"pair":{"is_good":true}}'}
    assert read(row)["critics"] == row["critics"]
    for wrong, reason in (
        ("{", "field 'critics' is not JSON"),
        ('{"x": {}}', "must be an object with the verdicts"),
        ('{"pair": {}}', "critics.pair.is_good"),
    ):
        with pytest.raises(Unreadable, match=reason):
            read({**row, "critics": wrong})


def test_the_pipelines_own_rows_are_known_under_any_mapping():
    """A specification maps the columns of its source; what `clean` made of it has the pipeline's."""
    row = dict.fromkeys(("id", "instruction", "response", "type", "source_file"), "x") | {"source_row": 1}
    row |= {"group": None, "reference": '{"answer":"3"}', "question": "wrong"}
    for columns in (Columns(instruction="question"), Columns(messages="chat"), Columns(reference="gold")):
        fields = schema.recognise(row, columns)
        assert fields.own and (fields.instruction, fields.reference) == ("instruction", "reference")
        assert schema.recognise_item(row, columns).instruction == "instruction"


@pytest.mark.parametrize(
    ("names", "columns", "message"),
    [
        (["prompt"], Columns(), "field 'prompt' but no field 'output' or 'response' or 'completion'"),
        (["instruction"], Columns(), "field 'instruction' but no field 'output' or 'response'"),
        (["x"], Columns(), "no recognised schema (fields: 'x')"),
        (["x"], Columns(instruction="q", response="x"), "no field 'q' (fields: 'x')"),
        ([str(n) for n in range(20)], Columns(), "'11' …)"),
    ],
)
def test_what_a_row_has_too_little_of_is_named(names, columns, message):
    assert message in schema.lacking(names, columns)


def test_what_a_row_of_no_schema_lacks_says_how_to_map_it():
    pair = {"prompt": "p", "chosen": "c", "rejected": "r"}
    assert "columns: response=chosen" in schema.lacking(pair, Columns())
    trajectory = {"task_id": 1, "traj": [{"role": "user", "content": "Hi."}]}
    assert "columns: messages=traj" in schema.lacking(trajectory, Columns())
