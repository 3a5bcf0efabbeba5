"""What is taken from a model's folder: its own files, with weights that are numbers."""

import json
import shutil
import struct

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from sft_pipeline.errors import ModelError
from sft_pipeline.experiment import FolderBase
from sft_pipeline.model.finite_weights import FiniteWeights
from sft_pipeline.model.snapshot import WEIGHTS, in_place, take
from sft_pipeline.provenance import hashing


@pytest.fixture
def base(toy_base, tmp_path):
    """A copy of the toy base's folder."""
    return shutil.copytree(toy_base.root, tmp_path / "base")


def taken(folder, out):
    out.mkdir()
    return take(FolderBase(kind="folder", path=str(folder)), folder, out / "cache", out)


@pytest.mark.parametrize("name", ["tokenizer.model", "config.json", WEIGHTS])
def test_a_link_that_leaves_the_folder_is_refused(base, tmp_path, name):
    secret = tmp_path / "secret"
    secret.write_bytes((base / name).read_bytes() if (base / name).exists() else b"alias secret=1")
    (base / name).unlink(missing_ok=True)
    (base / name).symlink_to(secret)
    with pytest.raises(ModelError, match=rf"{name} is a link that leaves the model's folder"):
        taken(base, tmp_path / "out")
    assert not (tmp_path / "out" / name).exists()


def test_the_links_of_the_hubs_cache_are_followed(base, tmp_path):
    blobs, snapshot = tmp_path / "models--a--b" / "blobs", tmp_path / "models--a--b" / "snapshots" / "0123"
    blobs.parent.mkdir()
    base.rename(blobs)
    snapshot.mkdir(parents=True)
    for path in blobs.iterdir():
        (snapshot / path.name).symlink_to(f"../../blobs/{path.name}")
    assert taken(snapshot, tmp_path / "out").parameters > 0
    assert not (tmp_path / "out" / WEIGHTS).is_symlink()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_are_refused_by_name(base, tmp_path, value):
    weights = load_file(base / WEIGHTS)
    broken = sorted(weights)[-1]
    weights[broken].reshape(-1)[-1] = value
    save_file(weights, base / WEIGHTS)
    for describe in (lambda: taken(base, tmp_path / "out"), lambda: in_place(base)):
        with pytest.raises(ModelError, match=rf"tensor {broken} in {WEIGHTS} holds values that are NaN or infinite"):
            describe()


def test_a_model_in_place_is_described_as_a_copy_of_it(base, tmp_path):
    copy, own = taken(base, tmp_path / "out"), in_place(base)
    assert own.files == copy.files
    assert own.model_dump(exclude={"root", "files", "source"}) == copy.model_dump(exclude={"root", "files", "source"})


@pytest.mark.parametrize("block", [1, 7, 64, 1 << 20])
@pytest.mark.parametrize(("kind", "shape"), [("<f2", 31), ("<f4", 17), ("<f8", 9)])
def test_every_place_of_every_type_is_looked_at_whatever_the_blocks(tmp_path, monkeypatch, block, kind, shape):
    monkeypatch.setattr(hashing, "_BLOCK", block)
    path = tmp_path / "it.safetensors"
    for place in range(shape):
        values = {"a": np.full(shape, np.finfo(kind).max, kind), "b": np.zeros(shape, kind), "c": np.ones(5, "<i8")}
        save_file(values, path)
        fine = FiniteWeights(path)
        assert hashing.hash_file(path, fine) == hashing.hash_file(path) and fine.problem == ""
        values["b"][place] = np.nan
        save_file(values, path)
        broken = FiniteWeights(path)
        hashing.hash_file(path, broken)
        assert broken.problem == "b", place


@pytest.mark.parametrize(("last", "problem"), [(0x7FC0, "a"), (0xFF80, "a"), (0x7F7F, "")])
def test_bfloat16_is_looked_at_too(tmp_path, last, problem):
    header = json.dumps({"a": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    path = tmp_path / "it.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + struct.pack("<2H", 0x3F80, last))
    watch = FiniteWeights(path)
    hashing.hash_file(path, watch)
    assert watch.problem == problem
