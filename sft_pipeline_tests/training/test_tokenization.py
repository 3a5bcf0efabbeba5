"""What is trained on: the response and one end of sequence."""

import pytest

from sft_pipeline.errors import TrainingError
from sft_pipeline.model.tokenizer import load_tokenizer
from sft_pipeline.training import mask_audit, tokenization


@pytest.fixture(scope="module")
def tokenizer(toy_base):
    return load_tokenizer(toy_base.root)


def test_loss_is_on_the_response_and_one_end_of_sequence(toy, tokenizer, rows):
    encoded = tokenization.encode(toy(), tokenizer, rows(20))
    for row, example in zip(rows(20), encoded.examples, strict=True):
        learned = [label for label in example["labels"] if label != tokenization.IGNORED]
        assert learned[-1] == tokenizer.end and learned.count(tokenizer.end) == 1
        assert tokenizer.inner.decode(learned[:-1]) == " " + row["response"]
        prompt = example["input_ids"][: -len(learned)]
        assert prompt == tokenizer.encode(toy().prompt.render(row["instruction"]))
        assert example["input_ids"][len(prompt) :] == learned
        assert example["labels"][: len(prompt)] == [tokenization.IGNORED] * len(prompt)
    assert not encoded.truncated and not encoded.masked and not encoded.merged


def test_lengths_are_those_of_the_encoded_rows(toy, tokenizer, rows):
    measured = tokenization.lengths(toy(), tokenizer, rows(20))
    assert [prompt + response for prompt, response in measured] == tokenization.encode(
        toy(), tokenizer, rows(20)
    ).lengths


def test_long_rows_are_cut_and_those_without_loss_counted(toy, tokenizer, rows):
    sample = rows(8)
    sample[3] = sample[3] | {"instruction": "Tell me. " * 200}
    sample[5] = sample[5] | {"response": "word " * 200}
    encoded = tokenization.encode(toy(max_length=60), tokenizer, sample)
    assert encoded.masked == [sample[3]["id"]] and encoded.truncated == [sample[3]["id"], sample[5]["id"]]
    assert len(encoded.examples) == 7 and max(encoded.lengths) == 60
    assert tokenizer.end not in encoded.examples[4]["labels"], "a cut response must not teach to stop"


def test_an_end_of_sequence_inside_a_response_is_an_error_and_a_final_one_counts_once(toy, tokenizer, rows):
    sample = rows(1)
    sample[0]["response"] += "<|endoftext|>"
    assert tokenization.encode(toy(), tokenizer, sample).examples[0]["labels"].count(tokenizer.end) == 1
    sample[0]["response"] += " and more"
    with pytest.raises(TrainingError, match=r"toy.jsonl, row 1.*end-of-sequence"):
        tokenization.encode(toy(), tokenizer, sample)


def test_where_tokens_merge_across_the_border_the_prompt_stays_as_it_is_asked(toy, tokenizer, rows):
    experiment = toy()
    prompt = experiment.prompt.model_copy(update={"template": "{instruction} The wo", "response_prefix": ""})
    experiment = experiment.model_copy(update={"prompt": prompt})
    sample = [rows(1)[0] | {"response": "rd amber names"}]
    assert len(tokenizer.encode(" word")) == 1, "the toy vocabulary must hold the word for this test to mean anything"
    encoded = tokenization.encode(experiment, tokenizer, sample)
    asked = tokenizer.encode(prompt.render(sample[0]["instruction"]))
    assert encoded.merged == [sample[0]["id"]] and encoded.examples[0]["input_ids"][: len(asked)] == asked


@pytest.mark.real_data
def test_a_tokenizer_that_begins_texts_with_a_space_adds_none_before_the_response(toy, rows, real_data):
    tokenizer = load_tokenizer(real_data / "stories260K-hf")
    encoded = tokenization.encode(toy(), tokenizer, rows(5))
    assert not encoded.merged
    whole = toy().prompt.render(rows(1)[0]["instruction"]) + " " + rows(1)[0]["response"]
    assert encoded.examples[0]["input_ids"] == [*tokenizer.encode(whole), tokenizer.end]


def test_the_audit_shows_what_carries_loss(toy, tokenizer, rows):
    text = mask_audit.plain_text(tokenization.encode(toy(), tokenizer, rows(30)), tokenizer, samples=3)
    assert text.count("[[ The word") == 3 and text.count("<|endoftext|>]]") == 3
    assert "Response:[[ The word amber names a kind of stone.<|endoftext|>]]" in text
    assert "fully masked, left out: 0" in text


def test_rows_without_any_loss_have_a_threshold_of_their_own(toy, tokenizer, rows):
    sample = rows(10)
    sample[3] = sample[3] | {"instruction": "Tell me. " * 200}
    strict, lenient = toy(max_length=80), toy(max_length=80, max_truncated_share=0.5)
    encoded = tokenization.encode(strict, tokenizer, sample)
    masked, cut = mask_audit.problems(encoded, strict.training)
    assert masked.startswith("1 of 10 rows (10.0%; allowed 0.0%) are fully masked") and sample[3]["id"] in masked
    assert "allow training.max_masked_share" in masked and "allow training.max_truncated_share" in cut
    assert mask_audit.problems(encoded, lenient.training) == [masked]
    assert mask_audit.problems(encoded, toy(max_length=80, max_masked_share=0.1).training) == [cut]
    both = toy(max_length=80, max_masked_share=0.1, max_truncated_share=0.1)
    assert mask_audit.problems(encoded, both.training) == []


def test_where_no_row_is_left_even_a_share_of_one_does_not_start_a_training(toy, tokenizer, rows):
    experiment = toy(max_length=2, max_masked_share=1.0, max_truncated_share=1.0)
    (problem,) = mask_audit.problems(tokenization.encode(experiment, tokenizer, rows(3)), experiment.training)
    assert "every row is fully masked" in problem
    (problem,) = mask_audit.problems(tokenization.encode(experiment, tokenizer, []), experiment.training)
    assert "no training row" in problem


def test_refused_rows_leave_the_page_where_the_error_says(toy, tokenizer, rows, tmp_path):
    experiment, work, out = toy(max_length=60), tmp_path / "work", tmp_path / "out"
    work.mkdir()
    out.mkdir()
    sample = [rows(1)[0] | {"response": "word " * 200}, *rows(3)[1:]]
    with pytest.raises(TrainingError, match=r"1 of 3 rows.*are cut at max_length 60") as said:
        mask_audit.run(tokenization.encode(experiment, tokenizer, sample), tokenizer, experiment.training, work, out)
    page = work / "mask_audit.html"
    assert str(page) in str(said.value) and "cannot be trained on" in page.read_text() and not any(out.iterdir())


@pytest.mark.parametrize("spoil", ["twice", "never", "in the middle", "after a cut"])
def test_an_end_that_is_not_learned_exactly_once_and_last_names_the_row(toy, tokenizer, rows, spoil, tmp_path):
    experiment, page = toy(max_truncated_share=0.5), tmp_path / "mask_audit.html"
    encoded = tokenization.encode(experiment, tokenizer, rows(4))
    labels = encoded.examples[2]["labels"]
    if spoil == "twice":
        labels.append(tokenizer.end)
    elif spoil == "never":
        labels[-1] = tokenization.IGNORED
    elif spoil == "in the middle":
        labels[-2:] = [tokenizer.end, labels[-2]]
    else:
        encoded.truncated.append(encoded.ids[2])
    problem = f"row {encoded.ids[2]}: the end-of-sequence token is trained on"
    with pytest.raises(TrainingError, match=problem) as said:
        mask_audit.run(encoded, tokenizer, experiment.training, tmp_path, tmp_path / "out")
    assert str(page) in str(said.value) and problem in page.read_text()


@pytest.mark.parametrize("batching", ["grouped", "packed"])
def test_the_collator_hands_over_the_labels_as_they_were_audited(toy, prepared, rows, batching):
    """Also where the padding token is the end-of-sequence token, as in many base models."""
    from sft_pipeline.training import trainer

    arguments = prepared(toy(batching=batching, batch_size=8))
    tokenizer = load_tokenizer(arguments["base"].root)
    tokenizer.inner.pad_token = tokenizer.inner.eos_token
    encoded = tokenization.encode(arguments["experiment"], tokenizer, rows(40))
    made = trainer.build(
        arguments["experiment"], arguments["base"], arguments["plan"], tokenizer, encoded, encoded, arguments["work"]
    )
    seen = [label for batch in made.get_train_dataloader() for label in batch["labels"].flatten().tolist()]
    learned = [label for example in encoded.examples for label in example["labels"] if label != tokenization.IGNORED]
    assert sorted(label for label in seen if label != tokenization.IGNORED) == sorted(learned)
    assert seen.count(tokenizer.end) == 40


def test_tokens_are_shown_as_the_text_that_they_add(toy, tokenizer, rows):
    sample = [rows(1)[0] | {"response": "Zoë → 東京 😀 <|pad|> naïve"}]
    encoded = tokenization.encode(toy(), tokenizer, sample)
    shown = mask_audit.tokens(encoded.examples[0], tokenizer)
    assert "".join(t.text for t in shown) == toy().prompt.render(sample[0]["instruction"]) + (
        " Zoë → 東京 😀 <|pad|> naïve<|endoftext|>"
    )
    assert [i for t in shown for i in t.ids] == encoded.examples[0]["input_ids"]
    assert [t.learned for t in shown for _ in t.ids] == [
        label != tokenization.IGNORED for label in encoded.examples[0]["labels"]
    ]
    assert next(t for t in shown if "😀" in t.text).text.strip() == "😀", "its four bytes belong together"
    assert [t.text for t in shown if t.special] == ["<|pad|>", "<|endoftext|>"]
    assert [t.text for t in shown if t.end] == ["<|endoftext|>"] and shown[-1].end and shown[-1].learned


@pytest.mark.real_data
def test_tokens_of_a_real_sentencepiece_tokenizer_add_up_too(toy, rows, real_data):
    tokenizer = load_tokenizer(real_data / "stories260K-hf")
    sample = rows(1)[0] | {"response": "Zoë  saw 東京.\nEnd"}
    shown = mask_audit.tokens(tokenization.encode(toy(), tokenizer, [sample]).examples[0], tokenizer)
    text = toy().prompt.render(sample["instruction"]) + " Zoë  saw 東京.\nEnd" + tokenizer.inner.eos_token
    assert "".join(t.text for t in shown) == text


def test_samples_are_the_extremes_the_merged_the_cut_and_a_dozen_over_all_rows(toy, tokenizer, rows):
    sample = rows(60)
    sample[17] = sample[17] | {"response": "word " * 200}
    encoded = tokenization.encode(toy(max_length=90), tokenizer, sample)
    chosen = {s.id: s.why for s in mask_audit.samples(encoded, tokenizer)}
    assert chosen[sample[17]["id"]] == "longest, cut" and "shortest" in chosen.values()
    spread = [encoded.ids.index(name) for name in chosen]
    assert len(chosen) >= 12 and min(spread) < 5 and max(spread) > 50
