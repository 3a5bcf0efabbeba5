"""Conversations: what counts as one question and one answer, and what the policy decides."""

from collections import Counter

import pytest

from sft_pipeline.dataset.source.items import Unreadable
from sft_pipeline.dataset.source.messages import exchanges
from sft_pipeline.experiment import Conversations


def turn(role, content, **more):
    return {"role": role, "content": content, **more}


U, A, S = turn("user", "q"), turn("assistant", "a"), turn("system", "s")


def read(messages, tally=None, **policy):
    (pair,) = exchanges(messages, "messages", Conversations(**policy), Counter() if tally is None else tally)
    return pair


@pytest.mark.parametrize(
    "messages",
    [
        [U, A],
        [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}],
        [turn("developer", ""), U, A],
        [{"from": "user", "value": "q"}, {"from": "Assistant", "value": "a"}],
        [turn("user", "q", tool_calls=None, name="x"), turn("assistant", "a", tool_calls=[], function_call=None)],
        [{"role": None, "content": None, "from": "human", "value": "q"}, A],
    ],
)
def test_both_spellings_of_one_exchange_are_read(messages):
    assert read(messages) == ("q", "a")


def test_text_parts_are_joined_by_line_breaks():
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert read([turn("user", parts), A]) == ("one\ntwo", "a")


def test_the_policy_decides_what_becomes_of_a_system_message():
    tally = Counter()
    assert read([S, U, A], tally) == ("s\nq", "a")
    assert not tally
    assert read([S, U, A], tally, system="drop") == ("q", "a")
    assert tally == {"system messages were left out (data.source.conversations.system: drop)": 1}
    with pytest.raises(Unreadable, match="has a system message"):
        read([S, U, A], system="reject")
    assert read([turn("system", " "), U, A]) == ("q", "a")


def test_the_setting_that_decides_is_named():
    with pytest.raises(Unreadable, match=r"\(data.test.conversations.several_turns: reject; "):
        exchanges([U, A, U, A], "messages", Conversations(), Counter(), setting="data.test.conversations")


@pytest.mark.parametrize("rest", [[U], [U, A], [A], [S], [turn("tool", "x")]])
def test_the_policy_decides_what_becomes_of_further_messages(rest):
    with pytest.raises(Unreadable, match=f"goes on after the first exchange, {2 + len(rest)} messages in all"):
        read([U, A, *rest])
    tally = Counter()
    assert read([U, A, *rest], tally, several_turns="first") == ("q", "a")
    assert list(tally.values()) == [1]


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ("text", "field 'messages' is text, not a list of messages"),
        (None, "is null, not a list"),
        ([], "ends where the question of a user is expected"),
        ([S], "ends where the question of a user is expected"),
        ([U], "ends where the answer of the assistant is expected"),
        ([A, U], "has a message of the role assistant as number 1, where the question of a user"),
        ([S, S, U, A], "role system as number 2, where the question"),
        ([U, U, A], "role user as number 2, where the answer"),
        ([U, S, A], "role system as number 2, where the answer"),
        ([U, turn("critic", "x")], "message 2 of field 'messages' has the unknown role 'critic'"),
        ([U, turn("tool", "x")], "message 2 of field 'messages' belongs to a tool call"),
        ([U, turn("assistant", None, tool_calls=[{"id": "1"}])], "belongs to a tool call"),
        ([{"from": "human", "value": "q"}, {"from": "function_call", "value": "{}"}], "belongs to a tool call"),
        ([U, turn("assistant", None)], "message 2 of field 'messages': 'content' is null, not text"),
        ([turn("user", 3), A], "'content' is a number, not text"),
        ([turn("user", [{"type": "image_url", "image_url": {}}]), A], "has a part of type 'image_url'; only text"),
        ([turn("user", ["q"]), A], "has a part that is text; only text parts"),
        ([turn(7, "q"), A], "'role' is a number, not text"),
        (["q", "a"], "message 1 of field 'messages' is text, not an object"),
        ([{"text": "q"}], "has neither role and content nor from and value"),
    ],
)
def test_another_form_is_set_aside_with_the_reason(messages, reason):
    with pytest.raises(Unreadable) as error:
        read(messages)
    assert reason in str(error.value)


def test_a_question_is_enough_where_no_answer_is_wanted():
    assert exchanges([S, U], "messages", Conversations(system="drop"), Counter(), answered=False) == [("q", "")]


def test_a_second_question_of_an_item_is_decided_by_the_policy():
    with pytest.raises(Unreadable, match="has 2 questions of a user, write each as a row of its own"):
        exchanges([U, A, U], "messages", Conversations(), Counter(), answered=False)
    tally = Counter()
    assert exchanges([U, A, U], "messages", Conversations(several_turns="first"), tally, answered=False) == [("q", "")]
    assert list(tally.values()) == [1]
    assert exchanges([U, A, turn("tool", "x"), A], "messages", Conversations(), Counter(), answered=False) == [
        ("q", "")
    ]
