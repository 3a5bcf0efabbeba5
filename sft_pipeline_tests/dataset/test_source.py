"""Reading: what is recognised, what is set aside and why, and what stops with a message."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sft_pipeline.artifacts import InstructionDataset
from sft_pipeline.dataset import source, table
from sft_pipeline.errors import DataError
from sft_pipeline.experiment import Columns, EmbeddedData, FileData
from sft_pipeline.provenance.hashing import hash_file


class Reader:
    """Reads one file of a folder and gives its rows back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs = 0

    def __call__(self, content: bytes | str, name: str = "data.jsonl", **spec) -> InstructionDataset:
        (self.folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return self.file(name, **spec)

    def file(self, path: str, **spec) -> InstructionDataset:
        self.runs += 1
        out = self.folder / f"out{self.runs}"
        out.mkdir()
        return source.read(FileData(kind="file", path=path, **spec), self.folder, out)


@pytest.fixture
def read(tmp_path: Path) -> Reader:
    return Reader(tmp_path)


def rows(dataset: InstructionDataset) -> list[dict]:
    return table.read_table(dataset.path(dataset.ROWS))


def rejected(dataset: InstructionDataset) -> list[dict]:
    return table.read_table(dataset.path(dataset.REJECTED))


def lines(*values) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


@pytest.mark.parametrize(
    ("row", "instruction", "response", "schema"),
    [
        ({"instruction": "Add.", "input": "1, 2", "output": "3"}, "Add.\n1, 2", "3", "alpaca"),
        ({"instruction": "Greet.", "input": "", "output": "Hi."}, "Greet.", "Hi.", "alpaca"),
        ({"instruction": "Greet.", "output": "Hi."}, "Greet.", "Hi.", "alpaca"),
        ({"instruction": "Greet.", "response": "Hi."}, "Greet.", "Hi.", "instruction/response"),
        ({"prompt": "Greet.", "completion": "Hi."}, "Greet.", "Hi.", "prompt/completion"),
        ({"question": "2+2?", "answer": "#### 4"}, "2+2?", "#### 4", "question/answer"),
        (
            {"instruction": "Greet.", "response": "Hi.", "prompt": "p", "pair_critique": {"is_good": True}},
            "Greet.",
            "Hi.",
            "stage-1 record",
        ),
    ],
)
def test_a_schema_is_recognised_and_reported(read, row, instruction, response, schema):
    dataset = read(lines(row))
    assert [(r["instruction"], r["response"], r["type"]) for r in rows(dataset)] == [(instruction, response, "all")]
    assert dataset.source_schema.startswith(schema)


@pytest.mark.parametrize("spelling", ["<noinput>", "No input.", "no input required", "N/A", "None", "< noinput >"])
def test_an_input_that_says_there_is_none_is_no_input_and_is_counted(read, spelling):
    dataset = read(lines({"instruction": "Greet.", "input": spelling, "output": "Hi."}))
    assert rows(dataset)[0]["instruction"] == "Greet."
    assert dataset.notes == ("1 inputs only say that there is none, and were read as no input",)


def test_an_input_that_merely_contains_such_a_word_stays(read):
    dataset = read(lines({"instruction": "Translate.", "input": "There is no input file", "output": "…"}))
    assert rows(dataset)[0]["instruction"] == "Translate.\nThere is no input file"


def test_jsonl_array_and_parquet_of_the_same_rows_give_the_same_rows(read, tmp_path):
    values = [{"instruction": "Greet 🙂", "response": "שלום"}, {"instruction": "Null\u0000byte", "response": "ok"}]
    pq.write_table(pa.Table.from_pylist(values), tmp_path / "data.parquet")
    from_lines, from_array, from_parquet = (
        read(lines(*values)),
        read(json.dumps(values, indent=2), "data.json"),
        read.file("data.parquet"),
    )
    assert [r["source_row"] for r in rows(from_lines)] == [1, 2]
    strip = [[{**r, "source_file": ""} for r in rows(d)] for d in (from_lines, from_array, from_parquet)]
    assert strip[0] == strip[1] == strip[2]
    assert strip[0][0]["response"] == "שלום"


def test_bad_rows_are_set_aside_with_row_and_reason(read):
    good = json.dumps({"instruction": "Greet.", "response": "Hi."}).encode()
    content = b"\n".join(
        [
            b"\xef\xbb\xbf" + good,
            b'{"instruction": "cut',
            b"",
            b'{"instruction": "Greet."}',
            b'{"instruction": "Greet.", "response": 7}',
            b'{"instruction": "Greet.", "response": null}',
            b'["Greet.", "Hi."]',
            b'{"instruction": "\xff", "response": "Hi."}',
            b'{"instruction": "\\ud800", "response": "Hi."}',
            b'{"instruction": "Greet.", "response": "Hi.", "score": NaN}',
            b"[" * 200_000,
            good,
        ]
    )
    dataset = read(content)
    found = {r["source_row"]: r["reason"] for r in rejected(dataset)}
    assert [r["source_row"] for r in rows(dataset)] == [1, 12]
    assert dataset.rejected == {"unreadable": 9}
    assert sorted(found) == [2, 4, 5, 6, 7, 8, 9, 10, 11]
    for row, words in {
        2: "not JSON",
        4: "no field 'response' (fields: 'instruction')",
        5: "field 'response' is a number, not text",
        6: "field 'response' is null",
        7: "not an object but a list",
        8: "not UTF-8: byte 0xff at position 17",
        9: "lone surrogate (U+D800)",
        10: "NaN is no JSON value",
        11: "not JSON",
    }.items():
        assert words in found[row], found[row]


def test_bytes_that_are_no_utf8_cost_only_their_row_of_a_json_array(read):
    dataset = read(b'[{"prompt": "a", "completion": "b"}, {"prompt": "\xff", "completion": "b"}]', "data.json")
    assert dataset.rows == 1
    assert "surrogate" in rejected(dataset)[0]["reason"]


def test_rows_of_another_schema_are_set_aside_not_guessed(read):
    dataset = read(lines({"prompt": "a", "completion": "b"}, {"question": "c", "answer": "d"}))
    assert dataset.rows == 1
    assert rejected(dataset)[0]["reason"] == "no field 'prompt' (fields: 'question', 'answer')"


def test_a_huge_line_is_set_aside_and_the_rest_is_read(read):
    huge = json.dumps({"instruction": "a", "response": "x" * (source.MAX_ROW_CHARACTERS + 1)})
    dataset = read(f"{huge}\n" + lines({"instruction": "a", "response": "b"}))
    assert [r["source_row"] for r in rows(dataset)] == [2]
    assert "the longest accepted" in rejected(dataset)[0]["reason"]
    assert len(rejected(dataset)[0]["matched"]) <= table.MATCHED


def test_explicit_columns_go_before_recognised_names(read):
    columns = Columns(instruction="q", response="a", input="context", type="kind", group="doc", reference="gold")
    dataset = read(
        lines(
            {"q": "Who?", "context": "Ann came.", "a": "Ann.", "kind": "person", "doc": 7, "gold": "Ann"},
            {"q": "Where?", "a": "Here.", "kind": "place", "doc": None, "gold": {"answer": "Here", "any": [1]}},
            {"q": "When?", "a": "Now.", "kind": 3, "doc": "x", "gold": "now"},
            {"q": "Why?", "a": "So.", "kind": "cause", "doc": "x", "gold": 4},
        ),
        columns=columns,
    )
    first, second = rows(dataset)
    assert (first["instruction"], first["type"], first["group"]) == ("Who?\nAnn came.", "person", "7")
    assert json.loads(first["reference"]) == {"answer": "Ann"}
    assert (second["group"], json.loads(second["reference"])) == (None, {"answer": "Here", "any": [1]})
    assert [r["reason"] for r in rejected(dataset)] == [
        "field 'kind' is a number, not text",
        "field 'gold' is a number, not text and not an object",
    ]


def test_what_the_mapping_leaves_out_is_recognised_by_name(read):
    dataset = read(lines({"task": "Greet.", "completion": "Hi."}), columns=Columns(instruction="task"))
    assert rows(dataset)[0]["response"] == "Hi."
    assert dataset.source_schema == "mapping over prompt/completion (instruction=task, response=completion)"


def test_the_pipelines_own_rows_come_back_unchanged(read, tmp_path):
    out = tmp_path / "embedded"
    out.mkdir()
    made = source.read(EmbeddedData(kind="embedded", rows=50), tmp_path, out)
    again = read.file(str(made.path(made.ROWS).relative_to(tmp_path)))
    content = ("id", "instruction", "response", "type", "group", "reference")
    assert [[r[c] for c in content] for r in rows(again)] == [[r[c] for c in content] for r in rows(made)]


def test_the_embedded_generator_is_read_like_a_file(tmp_path):
    dataset = source.read(EmbeddedData(kind="embedded", rows=100, dirt=0.1), tmp_path, tmp_path)
    assert dataset.rows == 110
    assert {r["source_file"] for r in rows(dataset)} == {"embedded"}
    assert json.loads(rows(dataset)[0]["reference"])


def test_the_source_says_what_was_read(read, tmp_path):
    dataset = read(lines({"prompt": "a", "completion": "b"}))
    digest = hash_file(tmp_path / "data.jsonl")
    assert dataset.source == f"data.jsonl (sha256 {digest}, {(tmp_path / 'data.jsonl').stat().st_size} bytes)"


def test_the_same_file_gives_the_same_bytes_and_no_path_of_the_machine(read, monkeypatch, tmp_path):
    monkeypatch.setenv("DATA_FOLDER", str(tmp_path))
    content = lines({"prompt": "a", "completion": "b"}, {"prompt": 1})
    first = read(content, path_in_spec := "x.jsonl")
    second = read.file("${DATA_FOLDER}/" + path_in_spec)
    assert [r["source_file"] for r in rows(second) + rejected(second)] == ["${DATA_FOLDER}/x.jsonl"] * 2
    assert str(tmp_path) not in second.model_dump_json()
    assert read(content, path_in_spec).digest == first.digest


def test_a_limit_reads_the_start_of_the_file(read):
    values = [{"prompt": str(i), "completion": "b"} for i in range(10)]
    assert [r["instruction"] for r in rows(read(lines(*values), limit=3))] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("path", "prepare", "message"),
    [
        ("missing.jsonl", lambda p: None, "there is no file"),
        ("folder", lambda p: (p / "folder").mkdir(), "is a folder; name one"),
        ("empty.jsonl", lambda p: (p / "empty.jsonl").write_bytes(b""), "is empty"),
        ("blank.jsonl", lambda p: (p / "blank.jsonl").write_bytes(b"\n \n"), "it holds no rows"),
        (
            "bad.jsonl",
            lambda p: (p / "bad.jsonl").write_text("{}\n{\n"),
            "none of its 2 rows can be used: row 1: no rec",
        ),
        ("none.json", lambda p: (p / "none.json").write_text("[]"), "it holds no rows"),
        ("cut.json", lambda p: (p / "cut.json").write_text('[{"a": 1},'), "the JSON array cannot be read"),
        ("cut.parquet", lambda p: (p / "cut.parquet").write_bytes(b"PAR1abc"), "the Parquet file cannot be read"),
        ("${NO_SUCH_VARIABLE}/x.jsonl", lambda p: None, "the environment variable NO_SUCH_VARIABLE is not set"),
    ],
)
def test_what_cannot_be_read_at_all_stops_with_a_message(read, tmp_path, path, prepare, message):
    prepare(tmp_path)
    with pytest.raises(DataError) as error:
        read.file(path)
    assert message in str(error.value)
    assert path.removeprefix("${NO_SUCH_VARIABLE}/") in str(error.value)


def test_a_mapping_to_a_missing_column_names_the_columns_there_are(read):
    with pytest.raises(DataError, match=r"no field 'query' \(fields: 'prompt', 'completion'\)"):
        read(lines({"prompt": "a", "completion": "b"}), columns=Columns(instruction="query"))


def test_a_hub_dataset_offline_says_that_it_needs_the_network(tmp_path):
    code = (
        "from pathlib import Path\n"
        "from sft_pipeline.dataset import source\n"
        "from sft_pipeline.experiment import HubData\n"
        "source.read(HubData(kind='hub', name='nobody/nothing', revision='0' * 40), Path('.'), Path('.'))\n"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "DataError: data.source: the hub dataset nobody/nothing@0000" in result.stderr
    assert "It needs the network" in result.stderr


@pytest.mark.real_data
def test_alpaca_is_read_in_full(real_data, tmp_path):
    path = real_data / "alpaca-52k" / "alpaca_data.json"
    dataset = source.read(FileData(kind="file", path=str(path)), tmp_path, tmp_path)
    assert (dataset.rows, dataset.rejected) == (52_002, {})
    assert dataset.source_schema == "alpaca (instruction=instruction, input=input, response=output)"
    assert dataset.notes == ("678 inputs only say that there is none, and were read as no input",)
