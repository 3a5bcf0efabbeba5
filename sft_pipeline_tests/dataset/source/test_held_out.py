"""What is given beside the data: a test file and benchmarks are taken whole, or not at all."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sft_pipeline.artifacts import InstructionDataset
from sft_pipeline.dataset import source, table
from sft_pipeline.dataset.source import read_items
from sft_pipeline.dataset.source.held_out import HeldOut
from sft_pipeline.errors import DataError
from sft_pipeline.experiment import BenchmarkFile, Columns, Conversations, EmbeddedData, FileData
from sft_pipeline.provenance.hashing import hash_file

GOOD = {"instruction": "Greet.", "response": "Hi."}


def items(dataset, name):
    path = dataset.path(f"benchmarks/{name}.parquet")
    assert pq.read_schema(path).equals(table.BENCHMARK)
    return table.read_table(path)


# ----------------------------------------------------------------------------------------------------------- test file


def test_a_test_file_becomes_a_table_row_for_row(read, lines, tmp_path):
    read.put("test.csv", "q,a,kind\nb?,B,x\na?,A,y\nb?,B,x\n")
    test = FileData(kind="file", path="test.csv", columns=Columns(instruction="q", response="a", type="kind"))
    dataset = read(lines(GOOD), test=test)
    path = dataset.path(InstructionDataset.TEST)
    assert pq.read_schema(path).equals(table.ROW)
    kept = [
        (r["instruction"], r["response"], r["type"], r["source_file"], r["source_row"]) for r in table.read_table(path)
    ]
    assert kept == [("b?", "B", "x", "test.csv", 2), ("a?", "A", "y", "test.csv", 3), ("b?", "B", "x", "test.csv", 4)]
    assert (dataset.rows, dataset.types) == (1, {"all": 1})
    assert dataset.notes == (
        f"test: test.csv (sha256 {hash_file(tmp_path / 'test.csv')}, {(tmp_path / 'test.csv').stat().st_size} bytes), "
        "3 rows, mapping (instruction=q, response=a, type=kind)",
    )


def test_a_test_file_with_an_unreadable_row_is_refused_as_a_whole(read, lines):
    read.put("test.jsonl", lines(GOOD, {"instruction": "x"}, GOOD) + "{\n")
    with pytest.raises(DataError) as error:
        read(lines(GOOD), test=FileData(kind="file", path="test.jsonl"))
    for words in (
        "2 of 4 rows cannot be read",
        "taken whole or not at all",
        "test.jsonl row 2: field",
        "row 4: not JSON",
    ):
        assert words in str(error.value)


@pytest.mark.parametrize(
    ("content", "columns", "message"),
    [
        (None, Columns(), "data.test.path 'test.jsonl': there is no file"),
        ("", Columns(), "is empty"),
        ("\n\n", Columns(), "it holds no rows"),
        (
            '{"a": "x"}',
            Columns(instruction="q", response="a"),
            r"data.test.columns \(instruction\): no row .* column 'q'",
        ),
    ],
)
def test_a_test_file_that_cannot_be_used_is_named(read, lines, content, columns, message):
    if content is not None:
        read.put("test.jsonl", content)
    with pytest.raises(DataError, match=message):
        read(lines(GOOD), test=FileData(kind="file", path="test.jsonl", columns=columns))


def test_what_is_brought_stands_beside_embedded_data_too(read, lines, tmp_path):
    read.put("b.jsonl", lines({"text": "t"}))
    dataset = source.read(
        EmbeddedData(kind="embedded", rows=20),
        tmp_path,
        read.out(),
        test=FileData(kind="file", path="b.jsonl", columns=Columns(instruction="text", response="text")),
        benchmarks={"b": BenchmarkFile(path="b.jsonl")},
        max_unreadable_share=0.1,
    )
    assert set(dataset.files) == {"rows.parquet", "rejected.parquet", "test.parquet", "benchmarks/b.parquet"}
    assert dataset.thresholds[0].value == 0


# ---------------------------------------------------------------------------------------------------------- benchmarks


@pytest.mark.parametrize(
    ("row", "text", "recognised"),
    [
        (
            {"question": "q", "choices": [1]},
            "q",
            "item (instruction=question); 1 rows have a field 'choices', which was not compared",
        ),
        ({"task_id": 1, "prompt": "p", "test": "t"}, "p", "item (instruction=prompt)"),
        ({"text": "t", "language": "x"}, "t", "item (instruction=text)"),
        ({"question": "q", "answer": "a"}, "q", "question/answer (instruction=question)"),
        ({"instruction": "i", "input": "j", "output": None}, "i\nj", "alpaca (instruction=instruction, input=input)"),
        ({"messages": [{"role": "user", "content": "u"}]}, "u", "messages (messages=messages)"),
        ({"instruction": "i", "input": "j"}, "i\nj", "item (instruction=instruction, input=input)"),
        ({"prompt": [{"role": "user", "content": "u"}]}, "u", "item (instruction=prompt)"),
        ({"id": "x", "instruction": "i", "instances": []}, "i", "item (instruction=instruction)"),
    ],
)
def test_the_text_of_an_item_is_recognised(read, lines, row, text, recognised):
    read.put("b.jsonl", lines(row))
    dataset = read(lines(GOOD), benchmarks={"B-1.x": BenchmarkFile(path="b.jsonl")})
    assert [(r["text"], r["source_file"], r["source_row"]) for r in items(dataset, "B-1.x")] == [(text, "b.jsonl", 1)]
    assert dataset.notes[-1].startswith("benchmark B-1.x: b.jsonl (sha256 ")
    assert dataset.notes[-1].endswith(f"1 items, {recognised}")


def test_a_declared_column_goes_before_what_is_recognised(read, lines, tmp_path):
    pq.write_table(pa.Table.from_pylist([{"question": "no", "answer": "no", "stem": "yes"}]), tmp_path / "b.parquet")
    dataset = read(lines(GOOD), benchmarks={"b": BenchmarkFile(path="b.parquet", column="stem")})
    assert items(dataset, "b")[0]["text"] == "yes"


def test_the_same_item_has_the_same_id_in_every_file(read, lines):
    read.put("a.jsonl", lines({"text": "t"}, {"text": "u"}))
    read.put("b.csv", "question\nt\n")
    benchmarks = {"a": BenchmarkFile(path="a.jsonl"), "b": BenchmarkFile(path="b.csv")}
    dataset = read(lines(GOOD), benchmarks=benchmarks)
    first, second = items(dataset, "a")
    assert first["id"] == items(dataset, "b")[0]["id"] != second["id"]


def test_a_benchmark_without_a_header_is_read_by_position_when_that_is_declared(read, lines):
    read.put("mmlu.csv", 'What is 2+2?,3,4,5,6,B\n"Why,\nso?",text,question,c,d,A\n')
    dataset = read(lines(GOOD), benchmarks={"m": BenchmarkFile(path="mmlu.csv", column="1")})
    assert [(r["text"], r["source_row"]) for r in items(dataset, "m")] == [("What is 2+2?", 1), ("Why,\nso?", 2)]


@pytest.mark.parametrize(
    ("content", "column", "message"),
    [
        (
            "What is 2+2?,3,4,5,6,B\nWhat is 2+3?,3,4,5,6,C\n",
            None,
            "a number counts the fields of a CSV file that has no header line",
        ),
        ("question,answer\nWhat?,x\n", "1", "that field is 'question', which looks like a header"),
        ("1,2\nWhat?,x\n", "1", "that field is '1', which looks like a header"),
        ("What is 2+2?,3\n", "3", r"\(instruction\): no row of b.csv has the column '3' \(fields: '1', '2'\)"),
        ("question,answer\nWhat?,x\n", "stem", "has the column 'stem'"),
        ("question,answer\nWhat?,x\nonly\n", None, "1 of 2 rows cannot be read, and the benchmark b is taken whole"),
    ],
)
def test_a_benchmark_that_could_be_misread_is_refused(read, lines, content, column, message):
    read.put("b.csv", content)
    with pytest.raises(DataError, match=message):
        read(lines(GOOD), benchmarks={"b": BenchmarkFile(path="b.csv", column=column)})


@pytest.mark.parametrize("name", ["../b", "a/b", "", ".hidden", "a b", "ä", "x" * 101, "a\n"])
def test_a_benchmarks_name_must_do_as_a_file_name(read, lines, name):
    with pytest.raises(DataError, match="cannot be a file's name"):
        read(lines(GOOD), benchmarks={name: BenchmarkFile(path="b.jsonl")})


def test_benchmarks_whose_names_one_file_system_cannot_tell_apart_are_refused(read, lines):
    read.put("b.jsonl", lines({"text": "t"}))
    with pytest.raises(DataError, match="'a' and 'A' differ only in case"):
        read(lines(GOOD), benchmarks={n: BenchmarkFile(path="b.jsonl") for n in ("a", "A")})


def test_a_benchmark_is_not_written_over_by_items_that_were_read_elsewhere(read, lines):
    read.put("b.jsonl", lines({"text": "t"}))
    other = HeldOut("evaluation.capabilities.benchmarks.gsm8k.items.path", [("u", "g.jsonl", 1)], None)
    with pytest.raises(DataError, match="'capabilities.gsm8k' is that of evaluation.capabilities.benchmarks.gsm8k"):
        source.read_external(
            test=None,
            benchmarks={"capabilities.gsm8k": BenchmarkFile(path="b.jsonl")},
            held_out_items={"capabilities.gsm8k": other},
            root=read.folder,
            out=read.out(),
        )


def test_an_item_of_a_benchmark_is_its_question_without_the_system_message(read, lines):
    talk = [{"role": role, "content": role} for role in ("system", "user", "assistant", "user")]
    read.put("b.jsonl", lines({"messages": talk[:3]}))
    dataset = read(lines(GOOD), benchmarks={"b": BenchmarkFile(path="b.jsonl")})
    assert items(dataset, "b")[0]["text"] == "user"
    assert dataset.notes[-1].endswith("; 1 system messages were left out")
    read.put("b.jsonl", lines({"messages": talk}))
    with pytest.raises(DataError, match="has 2 questions of a user, write each as a row of its own"):
        read(lines(GOOD), benchmarks={"b": BenchmarkFile(path="b.jsonl")})


@pytest.mark.parametrize("what", ["test", "benchmark", "comparison"])
def test_a_folder_that_is_taken_whole_leaves_no_data_out(read, lines, tmp_path, what):
    def take():
        spec = FileData(kind="file", path="items")
        if what == "comparison":
            return read_items(spec, tmp_path, tmp_path / "items.parquet")[0]
        brought = {"test": spec} if what == "test" else {"benchmarks": {"b": BenchmarkFile(path="items")}}
        return [note.partition("; ")[2] for note in read(lines(GOOD), **brought).notes]

    read.put("items/part1.jsonl", lines(GOOD))
    read.put("items/README.md", "[![badge](x)](y)")
    read.put("items/part1.jsonl.sha256", "0" * 64)
    assert take() == ["not read, another kind of file: README.md, part1.jsonl.sha256"]
    read.put("items/part2.jsonl.7z", b"7z")
    read.put("items/rows.txt", lines(GOOD))
    (tmp_path / "items" / "test.jsonl").symlink_to(read.put("elsewhere.jsonl", lines(GOOD)))
    with pytest.raises(DataError) as error:
        take()
    for words in (
        "taken whole or not at all",
        "part2.jsonl.7z (another kind of file), rows.txt (another kind of file), test.jsonl (a link that leaves",
    ):
        assert words in str(error.value)


@pytest.mark.real_data
def test_published_benchmarks_are_read_in_full(real_data, read, lines):
    files = {
        "gsm8k": ("gsm8k/test.jsonl", None, 1319),
        "humaneval": ("decontaminator/test/HumanEval.jsonl", None, 164),
        "ifeval": ("ifeval/input_data.jsonl", None, 540),
        "mmlu-algebra": ("decontaminator/rephrase/abstract_algebra_test.csv", "1", 100),
        "mmlu-history": ("decontaminator/rephrase/high_school_us_history_test.csv", "1", 204),
        "mmlu-sociology": ("decontaminator/rephrase/sociology_test.csv", "1", 201),
        "mmlu-chinese": ("decontaminator/rephrase/sociology_test_chinese.jsonl", None, 201),
        "seeds": ("alpaca-52k/seed_tasks.jsonl", None, 175),
    }
    benchmarks = {n: BenchmarkFile(path=str(real_data / path), column=c) for n, (path, c, _) in files.items()}
    dataset = read(lines(GOOD), benchmarks=benchmarks)
    assert {n: len(items(dataset, n)) for n in files} == {n: count for n, (_, _, count) in files.items()}
    assert items(dataset, "mmlu-algebra")[0]["text"].startswith("Find the degree for the given field extension")
    for name in ("algebra", "history", "sociology"):
        path = real_data / files[f"mmlu-{name}"][0]
        with pytest.raises(DataError, match="has no header line"):
            read(lines(GOOD), benchmarks={"m": BenchmarkFile(path=str(path))})


# ---------------------------------------------------------------------------------------------------------- comparisons


def test_items_for_a_comparison_need_no_response_but_must_all_be_there(read, lines, tmp_path):
    read.put("t.jsonl", lines({"instruction": "a", "input": "b"}, {"question": "c", "answer": None}))
    read_items(FileData(kind="file", path="t.jsonl"), tmp_path, path := tmp_path / "items.parquet")
    assert [(r["instruction"], r["response"]) for r in table.read_table(path)] == [("a\nb", ""), ("c", "")]
    read.put("bad.jsonl", lines({"instruction": "a"}, {"instruction": {"n": 1}}))
    with pytest.raises(DataError, match="1 of 2 rows cannot be read.*row 2: field 'instruction' is an object"):
        read_items(FileData(kind="file", path="bad.jsonl"), tmp_path, tmp_path / "bad.parquet")


def test_responses_of_training_rows_are_compared_where_there_are_any(read, lines, tmp_path):
    read.put("t.jsonl", lines({"instruction": "a", "output": "b"}, {"question": "c", "answer": None}, {"text": "d"}))
    spec = FileData(kind="file", path="t.jsonl", limit=1)  # a limit would hide what it cuts off
    read_items(spec, tmp_path, path := tmp_path / "learned.parquet", learned=True)
    assert [(r["instruction"], r["response"]) for r in table.read_table(path)] == [("a", "b"), ("c", ""), ("d", "")]
    read_items(spec, tmp_path, path := tmp_path / "items.parquet")
    assert [r["response"] for r in table.read_table(path)] == ["", "", ""]


@pytest.mark.parametrize("learned", [True, False])
def test_rows_of_the_pipeline_keep_their_identity_in_a_comparison(read, lines, tmp_path, learned):
    own = {"id": "x7", "instruction": "i", "response": "r", "type": "t", "group": "g", "reference": None}
    own |= {"critics": None, "source_file": "first.csv", "source_row": 9}
    read.put("own.jsonl", lines(own))
    spec = FileData(kind="file", path="own.jsonl", columns=Columns(instruction="question", response="answer"))
    read_items(spec, tmp_path, path := tmp_path / "items.parquet", learned=learned)
    assert table.read_table(path) == [own | {"response": "r" if learned else ""}]
    read.put("own.jsonl", lines(own | {"source_row": "9"}))
    with pytest.raises(DataError, match="'source_row' is text"):
        read_items(spec, tmp_path, tmp_path / "bad.parquet", learned=learned)


def test_a_comparison_takes_the_question_of_a_conversation(read, lines, tmp_path):
    talk = [{"from": "system", "value": "s"}, {"from": "human", "value": "q"}]
    read.put("t.jsonl", lines({"conversations": talk}))
    spec = FileData(kind="file", path="t.jsonl", conversations=Conversations(system="drop"))
    read_items(spec, tmp_path, path := tmp_path / "items.parquet")
    assert table.read_table(path)[0]["instruction"] == "q"
    read.put("t.jsonl", lines({"conversations": [*talk, {"from": "human", "value": "r"}]}))
    spec = FileData(kind="file", path="t.jsonl", conversations=Conversations(system="drop", several_turns="first"))
    assert read_items(spec, tmp_path, path, field="data.test")[0] == [
        "1 system messages were left out (data.test.conversations.system: drop)",
    ]
    assert [r["instruction"] for r in table.read_table(path)] == ["q", "r"]


@pytest.mark.parametrize("several_turns", ["reject", "first", "each"])
def test_no_turn_of_a_training_conversation_escapes_a_comparison(read, lines, tmp_path, several_turns):
    """What is cut off in training, or goes to a tool, was part of the data all the same."""
    talk = [
        ("system", "s"),
        ("user", "q1"),
        ("assistant", "a1"),
        ("tool", "sunny"),
        ("assistant", "more"),
        ("user", "q2"),
        ("assistant", "a2"),
    ]
    messages = [{"role": role, "content": text} for role, text in talk]
    read.put("t.jsonl", lines({"messages": messages, "colour": "red"}))
    policy = Conversations(several_turns=several_turns, system="drop")
    spec = FileData(kind="file", path="t.jsonl", conversations=policy)
    notes, unread = read_items(spec, tmp_path, path := tmp_path / "learned.parquet", learned=True)
    found = table.read_table(path)
    assert [(r["instruction"], r["response"]) for r in found] == [("s\nq1", "a1\ntool\nsunny\nmore"), ("q2", "a2")]
    assert len({r["id"] for r in found}) == 2 and {r["group"] for r in found} == {None}
    assert (notes, unread) == ([], ["the fields 'colour' (1 rows) of the training rows"])
