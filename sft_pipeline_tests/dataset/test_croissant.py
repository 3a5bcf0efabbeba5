"""The Croissant description: valid by the reference implementation, which also loads the rows that it describes."""

import hashlib
import json

import pytest

from sft_pipeline.dataset import croissant, table

ODD = 'Say "hi" <b>\n\x00 עברית 👩‍👩‍👧'


def rows(count, text=ODD):
    return [
        {
            "id": f"{k:016x}", "instruction": f"{text} {k}", "response": f"R{k}", "type": "all", "group": None,
            "reference": '{"answer": 1}' if k % 2 else None, "critics": None, "source_file": "a.jsonl", "source_row": k + 1,
        }
        for k in range(count)
    ]  # fmt: skip


@pytest.fixture
def splits(tmp_path):
    parts = {}
    for name, count in (("train", 130), ("dev", 3), ("test", 5)):
        (tmp_path / name).mkdir()
        parts[name] = tmp_path / name / "rows.parquet"
        table.write_table(rows(count), table.ROW, parts[name])
    croissant.write(tmp_path, "toy", parts, description="Splits of a toy.")
    return tmp_path


def loaded(path):
    """The dataset, after the reference implementation found no error in it."""
    mlcroissant = pytest.importorskip("mlcroissant")
    dataset = mlcroissant.Dataset(jsonld=path)
    assert not dataset.metadata.ctx.issues.errors
    # What nobody but a publisher knows is all that is missing.
    missing = {warning.split('"')[1].rsplit("/", 1)[1] for warning in dataset.metadata.ctx.issues.warnings}
    assert missing <= {"citeAs", "datePublished", "license", "version"}
    return dataset


def plain(record):
    return {name.split("/")[1]: v.decode() if isinstance(v, bytes) else v for name, v in record.items()}


def test_splits_load_through_mlcroissant_as_they_were_written(splits):
    dataset = loaded(splits / "croissant.json")
    for name, count in (("train", 130), ("dev", 3), ("test", 5)):
        found = [plain(record) for record in dataset.records(name)]
        assert found == [{**row, "split": name} for row in rows(count)]
    meaning = {record["splits/name"]: record["splits/url"] for record in dataset.records("splits")}
    assert meaning == {"train": "cr:TrainingSplit", "dev": "cr:ValidationSplit", "test": "cr:TestSplit"}


def test_a_dataset_without_splits_has_one_record_set_and_no_split_field(tmp_path):
    file = tmp_path / "my rows (1) %20 ü.parquet"
    table.write_table(rows(4), table.ROW, file)
    croissant.write(tmp_path, "clean <b>: (1) ü", {"rows": file}, description=ODD)
    dataset = loaded(tmp_path / "croissant.json")
    assert [record_set.id for record_set in dataset.metadata.record_sets] == ["rows"]
    assert [plain(record) for record in dataset.records("rows")] == rows(4)


def test_files_are_named_relative_with_their_hash_size_and_media_type(splits):
    content = json.loads((splits / "croissant.json").read_text("utf-8"))
    assert content["conformsTo"] == "http://mlcommons.org/croissant/1.1"
    for file in content["distribution"]:
        data = (splits / file["contentUrl"]).read_bytes()
        assert file["sha256"] == hashlib.sha256(data).hexdigest() and file["contentSize"] == f"{len(data)} B"
        assert file["encodingFormat"][0] == "application/vnd.apache.parquet"
    assert str(splits) not in json.dumps(content)


def test_the_fields_are_those_of_the_rows_with_their_types(splits):
    content = json.loads((splits / "croissant.json").read_text("utf-8"))
    (train,) = (record_set for record_set in content["recordSet"] if record_set["@id"] == "train")
    types = {field["name"]: field["dataType"] for field in train["field"]}
    assert types == {name: "sc:Integer" if name == "source_row" else "sc:Text" for name in [*table.ROW.names, "split"]}
    assert all(field["description"] for field in train["field"])


def test_the_same_files_give_the_same_bytes_and_other_rows_others(splits, tmp_path):
    before = (splits / "croissant.json").read_bytes()
    parts = {name: splits / name / "rows.parquet" for name in ("train", "dev", "test")}
    croissant.write(splits, "toy", parts, description="Splits of a toy.")
    assert (splits / "croissant.json").read_bytes() == before
    table.write_table(rows(5, "other"), table.ROW, parts["test"])
    croissant.write(splits, "toy", parts, description="Splits of a toy.")
    assert (splits / "croissant.json").read_bytes() != before


def test_a_file_outside_the_folder_is_refused(splits):
    with pytest.raises(ValueError, match="subpath"):
        croissant.write(splits / "dev", "toy", {"train": splits / "train" / "rows.parquet"}, description="x")
