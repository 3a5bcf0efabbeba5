"""What carries loss: the response and one end of sequence."""

import pytest

from sft_pipeline.errors import TrainingError
from sft_pipeline.model.loader import load_tokenizer
from sft_pipeline.training import data


@pytest.fixture(scope="module")
def tokenizer(toy_base):
    return load_tokenizer(toy_base.root)


def test_loss_is_on_the_response_and_one_end_of_sequence(toy, tokenizer, rows):
    encoded = data.encode(toy(), tokenizer, rows(20))
    for row, example in zip(rows(20), encoded.examples, strict=True):
        learned = [label for label in example["labels"] if label != data.IGNORED]
        assert learned[-1] == tokenizer.end and learned.count(tokenizer.end) == 1
        assert tokenizer.inner.decode(learned[:-1]) == " " + row["response"]
        prompt = example["input_ids"][: -len(learned)]
        assert prompt == tokenizer.encode(toy().prompt.render(row["instruction"]))
        assert example["input_ids"][len(prompt) :] == learned
        assert example["labels"][: len(prompt)] == [data.IGNORED] * len(prompt)
    assert not encoded.truncated and not encoded.masked and not encoded.merged


def test_lengths_are_those_of_the_encoded_rows(toy, tokenizer, rows):
    measured = data.lengths(toy(), tokenizer, rows(20))
    assert [prompt + response for prompt, response in measured] == data.encode(toy(), tokenizer, rows(20)).lengths


def test_long_rows_are_cut_and_those_without_loss_counted(toy, tokenizer, rows):
    sample = rows(8)
    sample[3] = sample[3] | {"instruction": "Tell me. " * 200}
    sample[5] = sample[5] | {"response": "word " * 200}
    encoded = data.encode(toy(max_length=60), tokenizer, sample)
    assert encoded.masked == [sample[3]["id"]] and encoded.truncated == [sample[3]["id"], sample[5]["id"]]
    assert len(encoded.examples) == 7 and max(encoded.lengths) == 60
    assert tokenizer.end not in encoded.examples[4]["labels"], "a cut response must not teach to stop"


def test_an_end_of_sequence_inside_a_response_is_an_error_and_a_final_one_counts_once(toy, tokenizer, rows):
    sample = rows(1)
    sample[0]["response"] += "<|end|>"
    assert data.encode(toy(), tokenizer, sample).examples[0]["labels"].count(tokenizer.end) == 1
    sample[0]["response"] += " and more"
    with pytest.raises(TrainingError, match=r"toy.jsonl, row 1.*end-of-sequence"):
        data.encode(toy(), tokenizer, sample)


def test_where_tokens_merge_across_the_border_the_prompt_stays_as_it_is_asked(toy, tokenizer, rows):
    experiment = toy()
    prompt = experiment.prompt.model_copy(update={"template": "{instruction} The wo", "response_prefix": ""})
    experiment = experiment.model_copy(update={"prompt": prompt})
    sample = [rows(1)[0] | {"response": "rd amber names"}]
    assert len(tokenizer.encode(" word")) == 1, "the toy vocabulary must hold the word for this test to mean anything"
    encoded = data.encode(experiment, tokenizer, sample)
    asked = tokenizer.encode(prompt.render(sample[0]["instruction"]))
    assert encoded.merged == [sample[0]["id"]] and encoded.examples[0]["input_ids"][: len(asked)] == asked


@pytest.mark.real_data
def test_a_tokenizer_that_begins_texts_with_a_space_adds_none_before_the_response(toy, rows, real_data):
    tokenizer = load_tokenizer(real_data / "stories260K-hf")
    encoded = data.encode(toy(), tokenizer, rows(5))
    assert not encoded.merged
    whole = toy().prompt.render(rows(1)[0]["instruction"]) + " " + rows(1)[0]["response"]
    assert encoded.examples[0]["input_ids"] == [*tokenizer.encode(whole), tokenizer.end]


def test_the_audit_shows_what_carries_loss(toy, tokenizer, rows):
    text = data.audit(data.encode(toy(), tokenizer, rows(30)), tokenizer, samples=3)
    assert text.count("[[ The word") == 3 and text.count("<|end|>]]") == 3
    assert "Response:[[ The word amber names a kind of stone.<|end|>]]" in text
    assert "without any loss, left out: 0" in text
