"""Conversations that stay rows: what is read, what is rejected, and that cleaning and splits look at every turn."""

import json
from collections import Counter

import pytest

from sft_pipeline.dataset import cleaning, table
from sft_pipeline.dataset.source import read, schema
from sft_pipeline.dataset.source.items import Unreadable
from sft_pipeline.dataset.source.mapping import pairs
from sft_pipeline.dataset.source.messages import conversation
from sft_pipeline.dataset.split.split import split
from sft_pipeline.experiment import Columns, Conversations, Data, Experiment, FileData

KEEP = Conversations(several_turns="keep")
SYSTEM, USER = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is amber made of?"}
ANSWER, LATER = {"role": "assistant", "content": "Resin."}, {"role": "user", "content": "How old is it?"}
CALLS = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": '{"x": 1}'}}],
}


def kept(messages, tools=None, policy=KEEP, tally=None):
    tally = Counter() if tally is None else tally
    return conversation(messages, tools, "messages", policy, tally, system="", setting="data.source.conversations")


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([ANSWER, USER], "message 1 .* role assistant, where one of user is expected"),
        ([USER, LATER, ANSWER], "message 2 .* role user, where one of assistant is expected"),
        ([USER, ANSWER, ANSWER], "message 3 .* role assistant, where one of user is expected"),
        ([SYSTEM, SYSTEM, USER, ANSWER], "message 2 .* second system message"),
        ([USER, SYSTEM, ANSWER], "message 2 .* system message after the first"),
        ([{"role": "user", "content": " "}, ANSWER], "message 1 .*user. is empty"),
        ([USER, {"role": "assistant", "content": ""}, LATER, ANSWER], "message 2 .*assistant. is empty"),
        ([USER, ANSWER, {"role": "tool", "content": "4"}, ANSWER], "message 3 .* tool result without a call"),
        ([USER, CALLS, {"role": "tool", "content": "4", "tool_call_id": "b"}, ANSWER], "without a call of the id 'b'"),
        ([USER, CALLS, LATER, ANSWER], "message 3 .* role user, where one of tool is expected"),
        ([{"role": "user", "content": [{"type": "image", "url": "x"}]}, ANSWER], "a part of type 'image'"),
        ([USER, {**ANSWER, "loss_weight": 0}], "loss_weight 0: every answer of a conversation is trained on"),
        (
            [USER, {"role": "assistant", "content": "", "tool_calls": ["no"]}],
            "tool call that is not a name with arguments",
        ),
        ([USER], "no answer of the assistant"),
        ([{"role": "narrator", "content": "x"}], "unknown role 'narrator'"),
    ],
)
def test_what_is_no_conversation_is_rejected_with_the_message(messages, reason):
    with pytest.raises(Unreadable, match=reason):
        kept(messages)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(
    ("value", "reason"),
    [(float("nan"), "NaN or an infinity"), ("a\0", "NUL character"), ("a\ud800", "lone surrogate")],
)
def test_a_call_with_what_no_file_can_hold_is_rejected(own, value, reason):
    call = {"function": {"name": "f", "arguments": {"x": value}}}
    messages = [USER, {"role": "assistant", "content": "", "tool_calls": [call]}]
    row = {"messages": messages}
    if own:
        row = dict.fromkeys(table.TALK.names) | {"instruction": "x", "response": "y", "type": "t"}
        row |= {"conversation": json.dumps({"messages": messages})}
    with pytest.raises(Unreadable, match=reason):
        pairs(row, schema.recognise(list(row), Columns()), KEEP, "t", Counter())


def test_every_spelling_comes_to_the_form_of_chat_templates():
    tally: Counter[str] = Counter()
    sharegpt = [
        {"from": "human", "value": "What is amber made of?"},
        {"from": "function_call", "value": '{"name": "f", "arguments": {"x": 1}}'},
        {"from": "observation", "value": "resin"},
        {"from": "gpt", "value": "Resin."},
        {"from": "human", "value": "Thanks"},
    ]
    found = kept(sharegpt, '[{"name": "f"}]', tally=tally)
    call = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
    assert found.messages == [USER, {"role": "assistant", "content": "", "tool_calls": [call]},
                              {"role": "tool", "content": "resin"}, ANSWER]  # fmt: skip
    assert found.tools == [{"type": "function", "function": {"name": "f"}}]
    assert tally == {"messages after the last answer of a conversation were left out": 1}
    parts = [{"type": "reasoning", "value": "Hm."}, {"type": "text", "value": "Resin."}]
    typed = [
        SYSTEM,
        {"role": "user", "content": [{"type": "text", "text": USER["content"]}]},
        {"role": "assistant", "content": parts},
    ]
    assert kept(typed).messages == [SYSTEM, USER, {**ANSWER, "reasoning_content": "Hm."}]
    plain = kept(typed, policy=Conversations(several_turns="keep", system="drop", reasoning="drop"))
    assert plain.messages == [USER, ANSWER]
    openai = kept([USER, CALLS, {"role": "tool", "content": "4", "tool_call_id": "a"}, ANSWER])
    assert openai.messages[1]["tool_calls"] == [{**call, "id": "a"}]


def test_a_nul_is_refused_wherever_it_stands_and_its_name_is_not(tmp_path):
    thought = [USER, {**ANSWER, "reasoning_content": "a\0b"}]
    named = [USER, {**ANSWER, "content": "Write \\u0000, or \\\\u0000, for a NUL."}]
    (tmp_path / "talks.jsonl").write_text("".join(json.dumps({"messages": t}) + "\n" for t in (thought, named)))
    source = FileData(kind="file", path="talks.jsonl", conversations=KEEP)
    (tmp_path / "raw").mkdir()
    raw = read(source, tmp_path, tmp_path / "raw")
    (rejected,) = table.read_table(raw.path(raw.REJECTED))
    assert rejected["source_row"] == 1 and "NUL character" in rejected["reason"] and raw.rows == 1


def talk(number: int, second: str = "", answer: str = "") -> dict:
    words = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath", "inlet", "jetty")
    name = f"{words[number % 10]} {words[number // 10 % 10]} {number}"
    turns = [
        {"role": "user", "content": f"Tell me what people in the north call the {name} in winter."},
        {"role": "assistant", "content": answer or f"They call it the white {name}."},
        {"role": "user", "content": second or f"And which colour has the {name} when spring has come again there?"},
        {"role": "assistant", "content": f"It is green by then, the {name}."},
    ]
    return {"messages": turns}


@pytest.fixture
def made(tmp_path):
    """Reads, cleans and splits conversations; gives the rejected rows of the cleaning and the rows of each side."""

    def make(talks, external=()):
        (tmp_path / "talks.jsonl").write_text("".join(json.dumps(t) + "\n" for t in talks))
        (tmp_path / "test.jsonl").write_text("".join(json.dumps(t) + "\n" for t in external))
        source = {"kind": "file", "path": "talks.jsonl", "conversations": {"several_turns": "keep"}}
        test = {"test": source | {"path": "test.jsonl"}} if external else {}
        sizes = {"test_size": 8, "dev_size": 4, "min_test_size": 2, "smaller_test_reason": "a test"}
        data = Data.model_validate_json(json.dumps({"source": source, "split": sizes, **test}))
        for name in ("raw", "clean", "train", "dev", "test"):
            (tmp_path / name).mkdir()
        raw = read(data.source, tmp_path, tmp_path / "raw", test=data.test)
        clean = cleaning.clean(raw, data, tmp_path / "clean", count_tokens=lambda texts: [len(t) for t in texts])
        test_rows = raw.path(raw.TEST) if external else None
        sides = split(clean, data, {name: tmp_path / name for name in ("train", "dev", "test")}, test=test_rows)
        rejected = table.read_table(clean.path(clean.REJECTED))
        assert sides["test"].proof.clean
        return rejected, {side: table.read_table(d.path(d.ROWS)) for side, d in sides.items()}

    return make


def test_filters_look_at_every_answer(made):
    talks = [talk(n) for n in range(40)]
    talks[3] = talk(3, answer="N/A")
    talks[5] = talk(5, second="What is <|im_start|> for, in a text of many words such as this?")
    rejected, _ = made(talks)
    reasons = {row["source_row"]: (row["filter"], row["reason"][:9]) for row in rejected}
    assert reasons == {4: ("placeholder", "answer 1:"), 6: ("delimiter", "answer 2:")}


def test_a_test_item_is_one_answer_and_conversations_stay_together(made):
    question = "Is there any name for all of these things together in the language of the north?"
    talks = [talk(n, second=question if n < 3 else "") for n in range(40)]
    _, sides = made(talks)
    placed = {row["source_row"]: side for side, rows in sides.items() for row in rows}
    assert len({placed.get(row) for row in (1, 2, 3)} - {None}) == 1
    assert not {r["source_row"] for r in sides["test"]} & {r["source_row"] for r in sides["train"] + sides["dev"]}
    for row in sides["train"]:
        assert len(json.loads(row["conversation"])["messages"]) == 4 and row["group"] is None
    found = Counter(row["group"] for row in sides["test"])
    assert set(found.values()) == {2} and len({row["id"] for row in sides["test"]}) == len(sides["test"])
    for row in sides["test"]:
        messages = json.loads(row["conversation"])["messages"]
        assert messages[-1]["content"] == row["response"] and row["instruction"].endswith(messages[-2]["content"])


def test_each_answer_of_an_external_test_file_is_an_item_that_leaks_into_nothing(made):
    question = talk(900)["messages"][2]["content"]  # the second question of a test conversation
    talks = [talk(n, second=question if n == 7 else "") for n in range(40)]
    _, sides = made(talks, external=[talk(900), talk(901)])
    assert [row["source_row"] for row in sides["test"]] == [1, 1, 2, 2] and len(sides["train"]) == 39 - 4
    assert all(json.loads(row["conversation"])["last"] for row in sides["test"])
    assert 8 not in {row["source_row"] for row in sides["train"] + sides["dev"]}


@pytest.mark.parametrize(
    ("prompt", "several", "model", "problem"),
    [
        (
            {"format": "chat"},
            "reject",
            {},
            "takes conversations as they are: set data.source.conversations.several_turns: keep",
        ),
        ({}, "keep", {}, "has no place for conversations"),
        ({}, "reject", {"role": "instruct"}, "model.role: instruct is asked as it was trained"),
        (
            {"format": "chat", "chat": {"template": "chatml"}},
            "keep",
            {"role": "instruct"},
            "with the template that it ships",
        ),
        ({"format": "chat"}, "keep", {"bos": "always"}, "the template writes the beginning"),
        ({"format": "chat", "template": "{instruction}"}, "keep", {}, "does not read template"),
        ({"format": "chat", "chat": {"date": "today"}}, "keep", {}, "today"),
    ],
)
def test_formats_that_do_not_fit_together_are_refused(prompt, several, model, problem):
    with pytest.raises(ValueError, match=problem):
        Experiment.model_validate(
            {
                "description": "x",
                "prompt": prompt,
                "data": {"source": {"kind": "file", "path": "x", "conversations": {"several_turns": several}}},
                "model": {"source": {"kind": "folder", "path": "x"}, **model},
                "training": {"max_steps": 1},
                "evaluation": {"scorers": {"default": {"kind": "exact"}}},
            }
        )
