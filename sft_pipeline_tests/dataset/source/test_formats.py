"""The formats: what each of them makes possible to get wrong, and that a fault costs only its own row."""

import gzip
import io
import json
import lzma
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_pipeline.dataset.source import MAX_ROW_CHARACTERS
from sft_pipeline.dataset.source.csv import read_delimited
from sft_pipeline.dataset.source.json_text import read_document, read_lines
from sft_pipeline.errors import DataError
from sft_pipeline.experiment import FileData

GOOD = {"instruction": "Greet.", "response": "Hi."}
HEADER = b"instruction,response\n"


def found(dataset, rows):
    return [(r["source_row"], r["instruction"], r["response"]) for r in rows(dataset)]


# ------------------------------------------------------------------------------------------------------------------ csv


def test_csv_and_tsv_are_read_like_json(read, rows):
    expected = [(2, "Greet, 🙂", "שלום"), (3, "a\nb", 'say "x"'), (5, "c", "d")]
    text = 'instruction,response\n"Greet, 🙂",שלום\n"a\nb","say ""x"""\nc,d\n'
    assert found(read(text, "data.csv"), rows) == expected
    assert found(read("\ufeff" + text.replace("\n", "\r\n"), "excel.csv"), rows)[0] == expected[0]
    tabs = "instruction\tresponse\nGreet, 🙂\tשלום\n"
    assert found(read(tabs, "data.tsv"), rows) == expected[:1]
    assert found(read(tabs.replace("\t", ";"), "semicolon.csv"), rows) == expected[:1]


def test_a_wrong_csv_record_costs_only_itself(read, rows, rejected):
    dataset = read(
        HEADER
        + "é,b\n".encode()
        + b"too few\n"
        + b"too,many,fields\n"
        + b"\n"
        + b"bad \xff byte,b\n"
        + b"nul \x00,b\n"
        + b'"never closed,b\n'
        + b"c,d\n"
        + b'"open" and on,b\n'
        + b"e,f\n"
        + b'g,"no end',
        "data.csv",
    )
    assert found(dataset, rows) == [(2, "é", "b"), (9, "c", "d"), (11, "e", "f")]
    reasons = {r["source_row"]: r["reason"] for r in rejected(dataset)}
    assert sorted(reasons) == [3, 4, 6, 7, 8, 10, 12]
    for row, words in {
        3: "1 fields, where the first line has 2",
        4: "3 fields, where the first line has 2",
        6: "field 'instruction' holds byte 0xff, which is not valid in the file's encoding",
        7: "NUL character",
        8: "a quote that opens on this line is not closed",
        10: "not CSV",
        12: "not CSV",
    }.items():
        assert words in reasons[row], reasons[row]


@pytest.mark.slow
def test_a_huge_csv_field_or_an_endless_quote_does_not_swallow_the_rest(read, rows, rejected):
    huge = b"x" * (10 << 20)
    many = b"".join(b"row %d,answer\n" % n for n in range(100_000))
    dataset = read(HEADER + b"a," + huge + b"\n" + b'"open,b\n' + many, "data.csv")
    assert dataset.rows == 100_000
    reasons = [(r["source_row"], r["reason"]) for r in rejected(dataset)]
    assert reasons[0] == (2, f"a row of {len(huge) + 3} characters; the longest accepted has {MAX_ROW_CHARACTERS}")
    assert reasons[1][0] == 3 and "is not closed" in reasons[1][1]
    assert rows(dataset)[-1]["source_row"] == 100_003


def test_a_csv_without_known_columns_names_them(read):
    with pytest.raises(DataError, match=r"data.csv row 2: no recognised schema \(fields: 'Frage', 'Antwort'\)"):
        read("Frage,Antwort\na,b\n", "data.csv")
    with pytest.raises(DataError, match="two columns are named 'response'"):
        read("instruction,response,response\na,b,c\n", "data.csv")
    with pytest.raises(DataError, match="the header on line 1 cannot be read"):
        read('"instruction,response\na,b\n', "data.csv")
    with pytest.raises(DataError, match="it holds no rows"):
        read("instruction,response\n", "data.csv")


@given(st.lists(st.tuples(st.text(), st.text()), min_size=1))
def test_what_pythons_csv_writer_writes_comes_back(pairs):
    import csv

    pairs = [tuple(t.encode("utf-8", "ignore").decode() for t in pair) for pair in pairs]
    text = io.StringIO(newline="")
    csv.writer(text).writerows([("instruction", "response"), *pairs])
    found = read_delimited(io.StringIO(text.getvalue(), newline=""), Path("x.csv"), ",")
    assert [(v["instruction"], v["response"]) for _, v, _ in found] == pairs


# ----------------------------------------------------------------------------------------------------------------- json


def test_a_line_of_fifty_megabytes_needs_little_memory_and_its_length_is_reported(tmp_path):
    path = tmp_path / "x.jsonl"
    with open(path, "wb") as stream:
        stream.write(b'{"instruction": "')
        for _ in range(50):
            stream.write(b"x" * (1 << 20))
        stream.write(b'"}\n' + json.dumps(GOOD).encode())
    length = path.stat().st_size - len(json.dumps(GOOD))
    tracemalloc.start()
    with open(path, newline="") as stream:
        items = list(read_lines(stream))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(items[0][1]) == f"a row of {length} characters; the longest accepted has {MAX_ROW_CHARACTERS}"
    assert items[1][:2] == (2, GOOD)
    assert peak < 8 << 20


@pytest.mark.slow
@given(st.lists(st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner)), max_size=20))
def test_an_array_is_read_like_json_does_wherever_its_blocks_end(values):
    from sft_pipeline.dataset.source import json_text

    text = json.dumps(values, indent=1)
    block, json_text._BLOCK = json_text._BLOCK, 3
    try:
        assert [value for _, value, _ in read_document(io.StringIO(text), Path("x.json"))] == values
    finally:
        json_text._BLOCK = block


@pytest.mark.slow
def test_an_array_needs_memory_for_a_block_not_for_all(tmp_path):
    path = tmp_path / "x.json"
    path.write_text(json.dumps([{"instruction": f"{n} " * 50, "response": "b" * 300} for n in range(30_000)]))
    assert path.stat().st_size > 15 << 20
    tracemalloc.start()
    with open(path) as stream:
        count = sum(1 for _ in read_document(stream, path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 30_000
    assert peak < 8 << 20


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"a": 1} {"a": 2}]', "after element 1: a comma or the closing bracket must follow it"),
        ('[{"a": 1}, ]', "after element 1: Expecting value"),
        ('[{"a": 1}, {"a" 2}' + ', {"a": 3}' * 10 + "]", "after element 1: Expecting ':' delimiter"),
        ('[{"a": 1}] {"a": 2}', "after element 1: something follows its closing bracket"),
        ('[{"a": "b}]', "after element 0: Unterminated string"),
        ("[" * 100_000, "after element 0: lists or objects are nested too deeply"),
    ],
)
def test_a_broken_array_says_after_which_element(read, text, message):
    with pytest.raises(DataError, match="the JSON cannot be read") as error:
        read(text, "data.json")
    assert message in str(error.value)


def test_what_json_does_not_allow_costs_only_its_element(read, rejected):
    good = '{"prompt": "a", "completion": "b", "score": NaN, "input": NaN}'
    twice = '{"prompt": "a", "prompt": "b", "completion": "c"}'
    dataset = read(f'[{good}, {{"prompt": "a", "completion": NaN}}, {twice}]', "data.json")
    assert dataset.rows == 1  # pandas writes NaN for a missing value: it harms where a value is needed
    assert [r["reason"] for r in rejected(dataset)] == [
        "field 'completion' is null (NaN), not text",
        "not JSON: the field 'prompt' stands twice in an object",
    ]
    assert rejected(dataset)[1]["matched"] == twice


# -------------------------------------------------------------------------------------------------------------- parquet


def test_a_response_of_ten_megabytes_is_set_aside_in_every_format(read, rejected, tmp_path):
    values = [GOOD, {"instruction": "a", "response": "x" * (10 << 20)}]
    pq.write_table(pa.Table.from_pylist(values), tmp_path / "data.parquet")
    for dataset in (read(json.dumps(values), "data.json"), read.file("data.parquet")):
        assert dataset.rows == 1
        assert "the longest accepted has" in rejected(dataset)[0]["reason"]
        assert rejected(dataset)[0]["matched"].startswith("{'instruction': 'a', 'response': 'xxx")
        assert len(rejected(dataset)[0]["matched"]) == 300


def test_bytes_that_are_no_utf8_cost_only_their_row_of_a_parquet_file(read, rows, rejected, tmp_path):
    text = pa.array([b"a", b"\xff", b"c"]).view(pa.string())
    pq.write_table(pa.table({"prompt": text, "completion": pa.array(["x", "y", "z"])}), tmp_path / "data.parquet")
    dataset = read.file("data.parquet")
    assert [r["source_row"] for r in rows(dataset)] == [1, 3]
    assert "not UTF-8" in rejected(dataset)[0]["reason"]


@pytest.mark.parametrize(
    "when", [pa.array([10**7, 1], pa.date32()), pa.array([10**15, 1], pa.timestamp("s"))], ids=["date", "time"]
)
def test_a_date_that_python_does_not_know_harms_only_whoever_uses_it(read, rows, rejected, tmp_path, when):
    table = pa.table({"prompt": ["a", "b"], "completion": ["x", "y"], "when": when})
    pq.write_table(table, tmp_path / "data.parquet")
    assert [r["source_row"] for r in rows(read.file("data.parquet"))] == [1, 2]
    pq.write_table(table.rename_columns(["prompt", "was", "completion"]), tmp_path / "data.parquet")
    with pytest.raises(DataError, match="field 'completion' is unreadable"):
        read.file("data.parquet")


def test_a_parquet_file_of_several_schemas_is_read_row_by_row(read, rows, rejected, tmp_path):
    messages = [{"role": "user", "content": "e"}, {"role": "assistant", "content": "f"}]
    columns = {
        "prompt": pa.array(["a", None, None, None]),
        "completion": pa.array(["b", None, None, None]),
        "question": pa.array([None, "c", None, "g"]),
        "answer": pa.array([None, "d", None, None]),
        "messages": pa.array([None, None, messages, None]),
    }
    pq.write_table(pa.table(columns), tmp_path / "data.parquet")
    dataset = read.file("data.parquet")
    assert [(r["instruction"], r["response"]) for r in rows(dataset)] == [("a", "b"), ("c", "d"), ("e", "f")]
    assert dataset.source_schema.count(": 1 rows") == 3
    assert rejected(dataset)[0]["source_row"] == 4


# ---------------------------------------------------------------------------------------------------------- recognition


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("array-by-another-name.txt", json.dumps([GOOD])),
        ("array.jsonl", json.dumps([GOOD], indent=1)),
        ("array-on-one-line.jsonl", json.dumps([GOOD]) + "\n \n"),
        ("array.csv", json.dumps([GOOD])),
        ("lines.json", json.dumps(GOOD)),
        ("lines.csv", json.dumps(GOOD)),
        ("no-suffix", json.dumps(GOOD)),
    ],
)
def test_the_content_tells_the_format_before_the_name_does(read, rows, name, content):
    assert [r["instruction"] for r in rows(read(content, name))] == ["Greet."]


def test_a_link_has_the_format_of_its_own_name(read, rows, tmp_path):
    read.put("blobs/0a1b2c", "instruction,response\nGreet.,Hi.\n")
    (tmp_path / "data.csv").symlink_to("blobs/0a1b2c")
    assert [(r["instruction"], r["source_file"]) for r in rows(read.file("data.csv"))] == [("Greet.", "data.csv")]


def test_parquet_is_recognised_by_its_content(read, tmp_path):
    pq.write_table(pa.Table.from_pylist([GOOD]), tmp_path / "data.json")
    assert read.file("data.json").rows == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04rest", "a ZIP archive: unpack it"),
        (b"SQLite format 3\x00", "a SQLite database"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "an HTML page"),
        (b"\x80\x04\x95", "a Python pickle"),
    ],
)
def test_what_is_another_format_is_named(read, content, message):
    with pytest.raises(DataError, match=message):
        read(content, "data.csv")


OTHER = {"instruction": "Sing.", "response": "La."}
ROWS = [GOOD, OTHER]


@pytest.mark.parametrize("name", ["data.json", "data.jsonl"])
@pytest.mark.parametrize(
    "content",
    [
        json.dumps({"data": ROWS}, indent=2),
        json.dumps({"version": 1, "data": ROWS}),
        '{"data": [\n' + ",\n".join(map(json.dumps, ROWS)) + "\n]}",
        json.dumps({"info": {"n": 2}, "dataset": {"train": ROWS}}),
        json.dumps({"0": GOOD, "1": OTHER}),
        json.dumps({name: [row[name] for row in ROWS] for name in GOOD}),
        json.dumps({name: {str(i): row[name] for i, row in enumerate(ROWS)} for name in GOOD}),
        json.dumps({"columns": list(GOOD), "index": [0, 1], "data": [list(row.values()) for row in ROWS]}),
        "".join(json.dumps(row) + ",\n" for row in ROWS),
        "\n".join(json.dumps(row, indent=1) for row in ROWS),
    ],
)
def test_rows_are_found_in_every_layout_of_json(read, rows, name, content):
    assert [r["instruction"] for r in rows(read(content, name))] == ["Greet.", "Sing."]


def test_one_row_over_several_lines_is_a_row(read, rows):
    assert [r["instruction"] for r in rows(read(json.dumps(GOOD, indent=1), "data.json"))] == ["Greet."]
    talk = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    assert [r["instruction"] for r in rows(read(json.dumps(talk, indent=1), "talk.json"))] == ["q"]


def test_two_lists_of_rows_in_one_object_are_not_mixed(read):
    with pytest.raises(DataError, match="rows stand in 'train' and 'test': write the ones that are meant as a file"):
        read(json.dumps({"train": ROWS, "test": ROWS}), "data.json")


@pytest.mark.parametrize(("ending", "compress"), [("gz", gzip.compress), ("xz", lzma.compress), ("zst", None)])
@pytest.mark.parametrize("name", ["data.jsonl", "data.csv", "data.json"])
def test_compressed_files_are_read_also_in_a_folder(read, rows, tmp_path, ending, compress, name):
    text = {"data.jsonl": "\n".join(map(json.dumps, ROWS)), "data.json": json.dumps(ROWS)}
    content = text.get(name, "instruction,response\nGreet.,Hi.\nSing.,La.\n").encode()
    path = read.put(f"folder/{name}.{ending}", b"")
    if compress:
        path.write_bytes(compress(content))
    else:
        with pa.CompressedOutputStream(pa.OSFile(str(path), "wb"), "zstd") as stream:
            stream.write(content)
    for found in (read.file(f"folder/{name}.{ending}"), read.file("folder")):
        assert [r["instruction"] for r in rows(found)] == ["Greet.", "Sing."]
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=rf"{name}.{ending}: the file cannot be read after row"):
        read.file(f"folder/{name}.{ending}")


FRENCH = "instruction,response\nÇa va été où ?,Très bien à Orléans\nQuel âge as-tu ?,J'ai été jeune: français\n"
RUSSIAN = "instruction,response\nКак тебя зовут и где ты живёшь?,Меня зовут Иван и я живу в Москве\n"


@pytest.mark.parametrize(
    ("text", "encoding", "note"),
    [
        (FRENCH, "utf-16", "read as UTF-16"),
        (FRENCH, "utf-16-le", "read as UTF-16-LE, detected by its zero bytes"),
        (FRENCH, "cp1252", "read as cp1252, detected"),
        (RUSSIAN, "cp1251", "read as cp1251, detected"),
    ],
)
def test_other_encodings_are_detected_and_reported(read, rows, text, encoding, note):
    dataset = read(text.encode(encoding), "data.csv")
    assert [r["instruction"] for r in rows(dataset)] == [line.split(",")[0] for line in text.splitlines()[1:]]
    assert any(said.startswith(f"data.csv: {note}") for said in dataset.notes), dataset.notes
    assert rows(read(text.encode(encoding), "data.csv", encoding=encoding)) == rows(dataset)


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1252", "Où est la bibliothèque? Elle est près de l'église, à côté du château."),
        ("cp1252", "Não há informações: a ação do cão e da irmã não são iguais às lições."),
        ("cp1252", "Vad heter Sveriges största stad? Det är få som går över ån i Malmö."),
        ("cp1252", "Perché la città è così? Più caffè."),
        ("cp1250", "Jakie jest największe miasto? Łódź, Gdańsk, Kraków, żółć, źdźbło."),
        ("cp1254", "İstanbul'da şu anki hava nasıl? Güneşli, çığlık, ağaç, öğle."),
        ("cp1253", "Ποια είναι η πρωτεύουσα της Ελλάδας; Η Αθήνα."),
        ("cp1255", "מהי בירת ישראל? התשובה היא ירושלים."),
        ("cp1256", "ما هي عاصمة مصر؟ القاهرة مدينة كبيرة."),
        ("koi8_r", "Какая столица России?"),
        ("cp932", "日本の首都はどこですか。東京です。①"),
        ("gb18030", "中国的首都是哪里？北京。"),
        ("cp949", "한국의 수도는 어디입니까? 서울."),
        ("cp874", "ประเทศไทยมีเมืองหลวงชื่ออะไร"),
    ],
)
def test_code_pages_are_recognised_by_how_the_language_is_spelled(read, rows, encoding, text):
    lines = "".join(
        json.dumps({"instruction": f"{text} {n}", "output": "x"}, ensure_ascii=False) + "\n" for n in (1, 2)
    )
    assert [row["instruction"] for row in rows(read(lines.encode(encoding), "data.jsonl"))] == [
        f"{text} 1",
        f"{text} 2",
    ]


def test_an_unknown_encoding_is_refused_when_the_specification_is_read():
    with pytest.raises(ValueError, match="encoding: unknown encoding: latin-99"):
        FileData(kind="file", path="x", encoding="latin-99")


def test_a_workbook_is_read_as_its_numbers_look(read, rows, tmp_path):
    openpyxl = pytest.importorskip("openpyxl", reason="writes the workbook")
    pytest.importorskip("python_calamine", reason="needs the extra excel")
    book = openpyxl.Workbook()
    book.active.append(["Instruction", "Output"])
    book.active.append(["Add 40 and 2.", 42])
    book.active.append(["Halve 1.", 0.5])
    book.save(tmp_path / "data.xlsx")
    found = rows(read.file("data.xlsx"))
    assert [(r["source_row"], r["response"]) for r in found] == [(2, "42"), (3, "0.5")]
    book.create_sheet("more").append(["x"])
    book.save(tmp_path / "data.xlsx")
    with pytest.raises(DataError, match=r"data.xlsx: the workbook has 2 sheets with content \(Sheet, more\)"):
        read.file("data.xlsx")


def test_arrow_files_and_saved_datasets_are_read(read, rows, tmp_path):
    import datasets

    table = pa.Table.from_pylist(ROWS)
    with pa.OSFile(str(tmp_path / "data.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    assert read.file("data.arrow").rows == 2
    saved = datasets.Dataset.from_list(ROWS)
    saved.save_to_disk(str(tmp_path / "saved"), num_shards=2)
    read.put("saved/cache-1234.arrow", b"no part of it")
    found = read.file("saved")
    assert sorted(r["instruction"] for r in rows(found)) == ["Greet.", "Sing."] and "2 files" in found.source
    datasets.DatasetDict({"train": saved, "test": saved}).save_to_disk(str(tmp_path / "splits"))
    with pytest.raises(DataError, match="several splits; name one of them: splits/train or splits/test"):
        read.file("splits")
    assert read.file("splits/train").rows == 2


@pytest.mark.parametrize("first", ["[{}]", '{"instruction": "cut,', "{"])
def test_a_broken_first_line_costs_only_itself(read, lines, first):
    dataset = read(f"{first}\n{lines(GOOD)}")
    assert (dataset.rows, dataset.rejected) == (1, {"unreadable": 1})


# ---------------------------------------------------------------------------------------------------------- any bytes


@given(st.binary() | st.text(alphabet='a",\n\r \x00é').map(str.encode))
def test_no_bytes_stop_the_reading_of_lines_or_records(content):
    text = content.decode(errors="surrogateescape")
    numbers = [number for number, _, _ in read_lines(io.StringIO(text, newline=""))]
    lines = list(io.StringIO(text, newline=""))
    assert numbers == [n for n, line in enumerate(lines, 1) if line.strip()]
    text = (HEADER + content).decode(errors="surrogateescape")
    numbers = [number for number, _, _ in read_delimited(io.StringIO(text, newline=""), Path("x"), ",")]
    assert numbers == sorted(set(numbers))
    assert not numbers or numbers[0] >= 2 and numbers[-1] <= len(text.splitlines())
