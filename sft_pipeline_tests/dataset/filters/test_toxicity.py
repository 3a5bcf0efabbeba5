"""Toxic words by the list, toxic texts by a classifier: a tiny one that is trained here on toy texts."""

import json
import random
import shutil

import pytest
import torch

from sft_pipeline.dataset.filters.toxicity import toxicity
from sft_pipeline.errors import DataError, ModelError, SpecificationError
from sft_pipeline.experiment import Toxicity

INSULTS, PRAISE = ["idiot", "moron", "scum", "filth"], ["friend", "hero", "angel", "star"]
FRAME = ["you", "are", "a", "the", "we", "think", "that", "is", "this", "and"]


def row(instruction: str, response: str) -> dict[str, str]:
    return {"instruction": instruction, "response": response}


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    pytest.importorskip("profanex", reason="needs the extra toxicity")
    return toxicity(Toxicity(), tmp_path_factory.mktemp("root"))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """Folder of a BERT of one layer that has learned which of eight words are insults."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *FRAME, *INSULTS, *PRAISE]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    torch.manual_seed(0)
    labels = {0: "neutral", 1: "insult"}
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=16,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            id2label=labels,
            label2id={name: i for i, name in labels.items()},
        )
    )
    draw = random.Random(0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(60):
        texts = [[*draw.choices(FRAME, k=draw.randint(1, 10)), ""] for _ in range(32)]
        targets = [draw.randint(0, 1) for _ in texts]
        for text, target in zip(texts, targets):
            text[-1] = draw.choice(INSULTS if target else PRAISE + FRAME)
            draw.shuffle(text)
        batch = tokenizer([" ".join(text) for text in texts], padding=True, return_tensors="pt")
        loss = model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=torch.tensor(targets)
        ).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.1
    folder = tmp_path_factory.mktemp("classifier")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    "text",
    [
        "Scunthorpe United won.",
        "Explain sex education.",
        "To Kill a Mockingbird",
        "Breast cancer screening",
        "The Maine Coon is a large cat.",
        "Great tits feed mainly on insects.",
        "A Cortex-A55 core",
        "The mouth, the stomach and the anus",
        "accused of rape, murder and arson",
        "Charles Dickens drank a cocktail with an assassin.",
        "class, password, analysis",
        "",
    ],
)
def test_plain_words_are_no_profanity(words, text):
    assert words([row("Say something.", text), row(text, "So?")]) == [None, None]


@pytest.mark.parametrize(
    "text", ["You fucking moron.", "go f*ck yourself", "Stop it, ASSHOLE!", "what a bunch of sluts"]
)
def test_a_profane_word_is_found_in_either_field_and_shown(words, text):
    said, asked = words([row("Say something.", text), row(text, "So?")])
    assert said.reason.startswith("the response has the word") and text in said.matched
    assert asked.reason.startswith("the instruction has the word") and text in asked.matched


@pytest.mark.slow
def test_the_classifier_finds_the_insult_and_names_label_and_probability(classifier, tmp_path):
    judge = toxicity(Toxicity(classifier=str(classifier), words=False), tmp_path)
    rows = [row(f"think {word}", f"you are a {word}") for word in PRAISE + INSULTS] + [row("", "")]
    hits = judge(rows)
    assert [bool(hit) for hit in hits] == [False] * 4 + [True] * 4 + [False]
    assert "is insult, probability 0.9" in hits[4].reason and "idiot" in hits[4].matched
    assert judge(rows) == hits and [judge([one])[0] is None for one in rows] == [hit is None for hit in hits]
    assert judge([]) == []


def test_an_insult_beyond_the_models_window_is_found(classifier, tmp_path):
    judge = toxicity(Toxicity(classifier=str(classifier), words=False), tmp_path)
    long = "we think that this is the star and " * 20
    harmless, insulting = judge([row("think", long), row("think", f"{long} you are scum {long}")])
    assert harmless is None and "scum" in insulting.matched


def test_words_and_classifier_judge_together(classifier, tmp_path):
    pytest.importorskip("profanex", reason="needs the extra toxicity")
    judge = toxicity(Toxicity(classifier=str(classifier)), tmp_path)
    hits = judge([row("say", "fuck this"), row("say", "you moron"), row("say", "you star")])
    assert "has the word" in hits[0].reason and "is insult" in hits[1].reason and hits[2] is None


def test_the_declared_label_and_score_decide(classifier, tmp_path):
    insult = [row("this", "you are a moron")]
    settings = {"classifier": str(classifier), "words": False}
    neutral = toxicity(Toxicity(labels=("neutral",), **settings), tmp_path)(insult)[0]
    assert "the instruction is neutral" in neutral.reason
    assert toxicity(Toxicity(max_score=1.0, **settings), tmp_path)(insult) == [None]
    with pytest.raises(SpecificationError, match="unknown hate; .* has neutral, insult"):
        toxicity(Toxicity(labels=("hate",), **settings), tmp_path)


def test_labels_without_a_neutral_one_must_be_declared_unless_each_stands_for_itself(classifier, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(classifier, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"id2label": {"0": "threat", "1": "insult"}, "label2id": {"threat": 0, "insult": 1}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(SpecificationError, match="say which labels are toxic; copy has threat, insult"):
        toxicity(Toxicity(classifier="copy", words=False), tmp_path)
    (folder / "config.json").write_text(json.dumps(config | {"problem_type": "multi_label_classification"}))
    hits = toxicity(Toxicity(classifier="copy", words=False, max_score=0.0), tmp_path)([row("we", "you moron")])
    assert "the instruction is" in hits[0].reason  # every label counts, and the sigmoid of a logit is above 0


def test_a_folder_without_safetensors_or_without_a_classifier_or_with_its_own_code_is_refused(classifier, tmp_path):
    with pytest.raises(ModelError, match=r"no \*\.safetensors"):
        toxicity(Toxicity(classifier="nothing"), tmp_path)
    with pytest.raises(DataError, match="TOXIC_MODEL_THAT_IS_NOT_SET"):
        toxicity(Toxicity(classifier="${TOXIC_MODEL_THAT_IS_NOT_SET}"), tmp_path)
    from transformers import BertForMaskedLM

    body = tmp_path / "body"
    shutil.copytree(classifier, body)
    BertForMaskedLM.from_pretrained(classifier).save_pretrained(body)
    with pytest.raises(ModelError, match="no weights for .*classifier.*no sequence-classification model"):
        toxicity(Toxicity(classifier="body"), tmp_path)
    own = tmp_path / "own"
    shutil.copytree(classifier, own)
    config = json.loads((own / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoModelForSequenceClassification": "mine.Mine"}}
    (own / "config.json").write_text(json.dumps(config))
    (own / "mine.py").write_text("raise SystemExit('foreign code ran')")
    with pytest.raises(ModelError, match="cannot be loaded"):
        toxicity(Toxicity(classifier="own"), tmp_path)


def test_neither_words_nor_a_classifier_is_a_mistake(tmp_path):
    with pytest.raises(SpecificationError, match="words is false and there is no classifier"):
        toxicity(Toxicity(words=False), tmp_path)


def test_a_missing_package_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "profanex", None)
    with pytest.raises(DataError, match=r"pip install 'sft-pipeline\[toxicity\]'"):
        toxicity(Toxicity(), tmp_path)


@pytest.mark.real_data
@pytest.mark.slow
def test_alpaca_has_five_rows_with_a_profane_word(real_data, words):
    items = json.loads((real_data / "alpaca-52k" / "alpaca_data.json").read_text())
    hits = words([row(f"{item['instruction']}\n{item['input']}", item["output"]) for item in items])
    assert [i for i, hit in enumerate(hits) if hit] == [13895, 21006, 21022, 48451, 51961]
