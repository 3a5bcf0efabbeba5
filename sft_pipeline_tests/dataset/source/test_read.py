"""Reading: what is recognised, what is rejected and why, and what stops with a message."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sft_pipeline.artifacts import Threshold
from sft_pipeline.dataset import source, table
from sft_pipeline.errors import DataError
from sft_pipeline.experiment import Columns, Conversations, EmbeddedData, FileData
from sft_pipeline.provenance.hashing import hash_file


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
def test_a_schema_is_recognised_and_reported(read, row, instruction, response, schema, lines, rows):
    dataset = read(lines(row))
    assert [(r["instruction"], r["response"], r["type"]) for r in rows(dataset)] == [(instruction, response, "all")]
    assert dataset.source_schema.startswith(schema)


@pytest.mark.parametrize("spelling", ["<noinput>", "No input.", "no input required", "N/A", "None", "< noinput >"])
def test_an_input_that_says_there_is_none_is_no_input_and_is_counted(read, spelling, lines, rows):
    dataset = read(lines({"instruction": "Greet.", "input": spelling, "output": "Hi."}))
    assert rows(dataset)[0]["instruction"] == "Greet."
    assert dataset.notes == ("1 inputs only say that there is none, and were read as no input",)


def test_an_input_that_merely_contains_such_a_word_stays(read, lines, rows):
    dataset = read(lines({"instruction": "Translate.", "input": "There is no input file", "output": "…"}))
    assert rows(dataset)[0]["instruction"] == "Translate.\nThere is no input file"


def test_jsonl_array_and_parquet_of_the_same_rows_give_the_same_rows(read, tmp_path, lines, rows):
    values = [
        {"instruction": "Greet 🙂", "response": "שלום"},
        {"instruction": 'Two\nlines, "quoted"', "response": "ok"},
    ]
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


def test_bad_rows_are_set_aside_with_row_and_reason(read, rows, rejected):
    good = json.dumps({"instruction": "Greet.", "response": "Hi."}).encode()
    content = b"\n".join(
        [
            b"\xef\xbb\xbf" + good.replace(b"Greet", "Ça".encode()),
            b'{"instruction": "cut',
            b"",
            b'{"instruction": "Greet."}',
            b'{"instruction": "Greet.", "response": [7]}',
            b'{"instruction": "Greet.", "response": null}',
            b'["Greet.", "Hi."]',
            b'{"instruction": "\xff", "response": "Hi."}',
            b'{"instruction": "\\ud800", "response": "Hi."}',
            b'{"instruction": "Greet.", "response": "Hi.", "score": NaN}',
            b"[" * 200_000,
            b'{"instruction": "a", "response": "b", "response": "c"}',
            b'{"instruction": "nul \\u0000", "response": "Hi."}',
            good,
        ]
    )
    dataset = read(content)
    found = {r["source_row"]: r["reason"] for r in rejected(dataset)}
    assert [r["source_row"] for r in rows(dataset)] == [1, 10, 14]  # NaN stands in a field that is not used
    assert dataset.rejected == {"unreadable": 10}
    assert sorted(found) == [2, *range(4, 10), *range(11, 14)]
    for row, words in {
        2: "not JSON",
        4: "field 'instruction' but no field 'output' or 'response' or",
        5: "field 'response' is a list, not text",
        6: "field 'response' is null",
        7: "not an object but a list",
        8: "holds byte 0xff, which is not valid in the file's encoding",
        9: "lone surrogate (U+D800)",
        11: "not JSON",
        12: "the field 'response' stands twice",
        13: "field 'instruction' holds a NUL character",
    }.items():
        assert words in found[row], found[row]


def test_bytes_that_are_no_utf8_cost_only_their_row_of_a_json_array(read, rejected):
    content = '[{"prompt": "é", "completion": "b"}, {"prompt": "'.encode() + b'\xff", "completion": "b"}]'
    dataset = read(content, "data.json")
    assert dataset.rows == 1
    assert "byte 0xff" in rejected(dataset)[0]["reason"]


def test_every_row_is_recognised_on_its_own_and_every_schema_is_reported(read, lines, rows, rejected):
    dataset = read(
        lines(
            {"prompt": "a", "completion": "b"},
            {"question": "c", "answer": "d"},
            {"question": "e", "answer": "f"},
            {"title": "g"},
        )
    )
    assert [r["instruction"] for r in rows(dataset)] == ["a", "c", "e"]
    assert dataset.source_schema == (
        "question/answer (instruction=question, response=answer): 2 rows; "
        "prompt/completion (instruction=prompt, response=completion): 1 rows"
    )
    assert rejected(dataset)[0]["reason"] == "no recognised schema (fields: 'title')"


def test_a_huge_line_is_set_aside_and_the_rest_is_read(read, lines, rows, rejected):
    huge = json.dumps({"instruction": "a", "response": "x" * (source.MAX_ROW_CHARACTERS + 1)})
    dataset = read(f"{huge}\n" + lines({"instruction": "a", "response": "b"}))
    assert [r["source_row"] for r in rows(dataset)] == [2]
    assert "the longest accepted" in rejected(dataset)[0]["reason"]
    assert len(rejected(dataset)[0]["matched"]) <= table.MATCHED


def test_explicit_columns_go_before_recognised_names(read, lines, rows, rejected):
    columns = Columns(instruction="q", response="a", input="context", type="kind", group="doc", reference="gold")
    dataset = read(
        lines(
            {"q": "Who?", "context": "Ann came.", "a": "Ann.", "kind": "person", "doc": 7, "gold": "Ann"},
            {"q": "Where?", "a": "Here.", "kind": "place", "doc": None, "gold": {"answer": "Here", "any": [1]}},
            {"q": "When?", "a": "Now.", "kind": [3], "doc": "x", "gold": "now"},
            {"q": "Why?", "a": "So.", "kind": "cause", "doc": "x", "gold": [4]},
        ),
        columns=columns,
    )
    first, second = rows(dataset)
    assert (first["instruction"], first["type"], first["group"]) == ("Who?\nAnn came.", "person", "7")
    assert json.loads(first["reference"]) == {"answer": "Ann"}
    assert (second["group"], json.loads(second["reference"])) == (None, {"answer": "Here", "any": [1]})
    assert [r["reason"] for r in rejected(dataset)] == [
        "field 'kind' is a list, not text",
        "field 'gold' is a list, not text and not an object",
    ]


@pytest.mark.parametrize(
    ("row", "pair"),
    [
        ({"Instruction": "a", "INPUT": "b", "Output": "c"}, ("a\nb", "c")),
        ({"prompt": "a", "response": "b"}, ("a", "b")),
        ({"query": "a", "response": "b"}, ("a", "b")),
        ({"input": "a", "output": "b"}, ("a", "b")),
        ({"Question ": "a", "Answer": "b"}, ("a", "b")),
        ({"problem": "a", "solution": "b", "answer": "c"}, ("a", "c")),
        ({"instruction": "Sum up.", "context": "Long.", "response": "x", "category": "y"}, ("Sum up.\nLong.", "x")),
        ({"passage": "Long.", "question": "a", "answer": "b"}, ("a\nLong.", "b")),
        ({"instruction": "", "input": "a", "output": "b"}, ("a", "b")),
        ({"instruction": "a", "input": float("nan"), "output": "b"}, ("a", "b")),
        ({"question": "6*7?", "answer": 42}, ("6*7?", "42")),
        ({"question": "1/2?", "answer": 0.5}, ("1/2?", "0.5")),
        ({"system_prompt": "Be brief.", "question": "a", "response": "b"}, ("Be brief.\na", "b")),
        ({"instruction": "a", "output": "b", "history": [], "system": "", "tools": "[]"}, ("a", "b")),
        ({"messages": json.dumps([{"role": "user", "content": "a"}, {"from": "gpt", "value": "b"}])}, ("a", "b")),
    ],
)
def test_common_names_and_layouts_of_a_row_are_read(read, lines, rows, row, pair):
    (found,) = rows(read(lines(row)))
    assert (found["instruction"], found["response"]) == pair


@pytest.mark.parametrize(
    "field", [{"history": [["q", "a"]]}, {"tools": '[{"name": "f"}]'}, {"Choices": ["x", "y"]}, {"image": "cat.png"}]
)
def test_a_field_that_changes_the_question_is_not_dropped_in_silence(read, lines, field):
    """Two rows that differ in it alone would go as duplicates with contradicting answers."""
    (name,) = field
    good = {"instruction": "Go on.", "output": "Yes."}
    message = rf"data.jsonl, row 2: the field '{name}' changes the question and would be left out.*ignore"
    with pytest.raises(DataError, match=message):
        read(lines(good, good | field))
    assert read(lines(good, good | field), columns=Columns(ignore=(name,))).rows == 2


def test_a_context_that_an_explicit_mapping_leaves_out_stops_the_run(read, lines, rows):
    row = {"q": "Who?", "context": "Ann came.", "a": "Ann."}
    with pytest.raises(DataError, match="the field 'context' changes the question"):
        read(lines(row), columns=Columns(instruction="q", response="a"))
    mapped = read(lines(row), columns=Columns(instruction="q", response="a", input="context"))
    assert rows(mapped)[0]["instruction"] == "Who?\nAnn came."


def test_each_answer_of_a_conversation_becomes_a_row_of_one_group(read, lines, rows):
    texts = ["s", "q1", "a1", "q2", "a2", "q3"]
    roles = ["system", *["user", "assistant"] * 2, "user"]
    talk = {"messages": [{"role": role, "content": text} for role, text in zip(roles, texts)]}
    dataset = read(lines(talk), conversations=Conversations(several_turns="each"))
    found = rows(dataset)
    assert [(r["instruction"], r["response"]) for r in found] == [
        ("s\nq1", "a1"),
        ("s\nUser: q1\nAssistant: a1\nUser: q2", "a2"),
    ]
    assert {r["group"] for r in found} == {"data.jsonl, row 1"} and len({r["id"] for r in found}) == 2
    assert dataset.notes == ("1 conversations end with a question without an answer, which was left out",)


def test_messages_of_another_spelling_are_read_when_it_is_declared(read, lines, rows):
    talk = {"messages": [{"speaker": "customer", "says": "q"}, {"speaker": "agent", "says": "a"}]}
    roles = {"customer": "user", "agent": "assistant"}
    spelling = Conversations(role_field="speaker", content_field="says", roles=roles)
    assert rows(read(lines(talk), conversations=spelling))[0]["response"] == "a"


def test_an_unknown_header_is_reported_once_with_what_to_do(read):
    with pytest.raises(DataError) as error:
        read("Frage,Antwort\n" + "a,b\n" * 100, "data.csv")
    assert str(error.value).count("no recognised schema") == 1
    assert "data.csv row 2 and 99 more" in str(error.value) and "--columns" in str(error.value)


def test_a_full_disk_is_reported_with_the_file(tmp_path):
    (tmp_path / ".x.parquet.partial").symlink_to("/dev/full")
    place = {"source_file": "x", "source_row": 1}
    rows = ({"id": str(n), "text": str(hash(str(n))) * 20, **place} for n in range(3 * table.BATCH))
    with pytest.raises(OSError, match="No space left on device: '.*x.parquet'"):
        table.write_table(rows, table.BENCHMARK, tmp_path / "x.parquet")


def test_what_the_mapping_leaves_out_is_recognised_by_name(read, lines, rows):
    dataset = read(lines({"task": "Greet.", "completion": "Hi."}), columns=Columns(instruction="task"))
    assert rows(dataset)[0]["response"] == "Hi."
    assert dataset.source_schema == "mapping over prompt/completion (instruction=task, response=completion)"


def test_the_pipelines_own_rows_come_back_unchanged(read, tmp_path, rows):
    out = tmp_path / "embedded"
    out.mkdir()
    made = source.read(EmbeddedData(kind="embedded", rows=50), tmp_path, out)
    again = read.file(str(made.path(made.ROWS).relative_to(tmp_path)))
    content = ("id", "instruction", "response", "type", "group", "reference")
    assert [[r[c] for c in content] for r in rows(again)] == [[r[c] for c in content] for r in rows(made)]


def test_the_embedded_generator_is_read_like_a_file(tmp_path, rows):
    dataset = source.read(EmbeddedData(kind="embedded", rows=100, planted_faults=0.1), tmp_path, tmp_path)
    assert dataset.rows == 110
    assert {r["source_file"] for r in rows(dataset)} == {"embedded"}
    assert json.loads(rows(dataset)[0]["reference"])


def test_the_source_says_what_was_read(read, tmp_path, lines):
    dataset = read(lines({"prompt": "a", "completion": "b"}))
    digest = hash_file(tmp_path / "data.jsonl")
    assert dataset.source == f"data.jsonl (sha256 {digest}, {(tmp_path / 'data.jsonl').stat().st_size} bytes)"


def test_the_same_file_gives_the_same_bytes_and_no_path_of_the_machine(
    read, monkeypatch, tmp_path, lines, rows, rejected
):
    monkeypatch.setenv("DATA_FOLDER", str(tmp_path))
    content = lines({"prompt": "a", "completion": "b"}, {"prompt": [1]})
    first = read(content, path_in_spec := "x.jsonl")
    second = read.file("${DATA_FOLDER}/" + path_in_spec)
    assert [r["source_file"] for r in rows(second) + rejected(second)] == ["x.jsonl"] * 2
    assert {name: ref.sha256 for name, ref in first.files.items()} == {n: r.sha256 for n, r in second.files.items()}
    assert str(tmp_path) not in second.model_dump_json()
    assert read(content, path_in_spec).digest == first.digest


def test_a_limit_reads_the_start_of_the_file(read, lines, rows):
    values = [{"prompt": str(i), "completion": "b"} for i in range(10)]
    assert [r["instruction"] for r in rows(read(lines(*values), limit=3))] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("path", "prepare", "message"),
    [
        ("missing.jsonl", lambda p: None, "there is no file"),
        ("empty.jsonl", lambda p: (p / "empty.jsonl").write_bytes(b""), "is empty"),
        ("blank.jsonl", lambda p: (p / "blank.jsonl").write_bytes(b"\n \n"), "it holds no rows"),
        (
            "bad.jsonl",
            lambda p: (p / "bad.jsonl").write_text("{}\n{\n"),
            "none of its 2 rows can be used: bad.jsonl row 1: no rec",
        ),
        ("none.json", lambda p: (p / "none.json").write_text("[]"), "it holds no rows"),
        ("cut.json", lambda p: (p / "cut.json").write_text('[{"a": 1},'), "the JSON cannot be read"),
        ("cut.parquet", lambda p: (p / "cut.parquet").write_bytes(b"PAR1abc"), "the file cannot be read"),
        ("${NO_SUCH_VARIABLE}/x.jsonl", lambda p: None, "the environment variable NO_SUCH_VARIABLE is not set"),
    ],
)
def test_what_cannot_be_read_at_all_stops_with_a_message(read, tmp_path, path, prepare, message):
    prepare(tmp_path)
    with pytest.raises(DataError) as error:
        read.file(path)
    assert message in str(error.value)
    assert path.removeprefix("${NO_SUCH_VARIABLE}/") in str(error.value)


@pytest.mark.parametrize(
    ("row", "fits"),
    [
        ({"prompt": "a", "completion": [1]}, True),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "model", "content": "b"}]}, True),
        ({"query": "a", "reply": "b"}, False),
    ],
)
def test_other_names_are_advised_only_where_the_names_are_the_fault(read, lines, row, fits):
    with pytest.raises(DataError) as error:
        read(lines(row))
    assert ("Correct them in the source" in str(error.value)) == fits
    assert ("data.source.columns" in str(error.value)) == (not fits)


@pytest.mark.real_data
@pytest.mark.slow
def test_alpaca_is_read_in_full(real_data, tmp_path):
    path = real_data / "alpaca-52k" / "alpaca_data.json"
    dataset = source.read(FileData(kind="file", path=str(path)), tmp_path, tmp_path)
    assert (dataset.rows, dataset.rejected) == (52_002, {})
    assert dataset.source_schema == "alpaca (instruction=instruction, input=input, response=output)"
    assert dataset.notes == ("671 inputs only say that there is none, and were read as no input",)


# ------------------------------------------------------------------------------------------- columns, threshold, account


@pytest.mark.parametrize(
    ("columns", "role", "column"),
    [
        (Columns(instruction="query"), "instruction", "query"),
        (Columns(instruction="prompt", response="reply"), "response", "reply"),
        (Columns(input="background"), "input", "background"),
        (Columns(type="kind"), "type", "kind"),
        (Columns(messages="chat"), "messages", "chat"),
    ],
)
def test_a_mapping_to_a_column_that_no_row_has_is_one_clear_error(read, lines, columns, role, column):
    content = lines(*[{"prompt": "a", "completion": "b"}] * 3)
    message = rf"data.source.columns \({role}\): no row of data.jsonl has the column '{column}'"
    with pytest.raises(DataError, match=rf"{message} \(fields: 'prompt', 'completion'\)"):
        read(content, columns=columns)


def test_rows_without_a_mapped_column_are_set_aside_where_others_have_it(read, lines, rejected):
    columns = Columns(instruction="q", response="a", type="kind")
    good = {"q": "x", "a": "y", "kind": "z"}
    dataset = read(lines(good, {"q": "x", "a": "y"}, {"a": "y", "kind": "z"}), columns=columns)
    assert dataset.types == {"all": 1, "z": 1}  # not every row needs a type
    assert [r["reason"] for r in rejected(dataset)] == ["no field 'q' (fields: 'a', 'kind')"]


def test_messages_and_texts_cannot_both_be_mapped(read, lines):
    with pytest.raises(DataError, match="name messages, or instruction, input and response, not both"):
        read(lines({"chat": []}), columns=Columns(messages="chat", response="x"))


def test_conversations_are_read_by_the_declared_policy_and_what_it_leaves_out_is_counted(read, lines, rows):
    talk = [{"role": r, "content": r[0]} for r in ("system", "user", "assistant", "user", "assistant")]
    content = lines({"messages": talk[:3]}, {"conversations": talk})
    assert read(content).rejected == {"unreadable": 1}
    dataset = read(content, conversations=Conversations(several_turns="first", system="drop"))
    assert [(r["instruction"], r["response"]) for r in rows(dataset)] == [("u", "a")] * 2
    assert dataset.source_schema == "messages (messages=messages): 1 rows; messages (messages=conversations): 1 rows"
    assert dataset.notes == (
        "1 conversations were cut to their first exchange (data.source.conversations.several_turns: first)",
        "2 system messages were left out (data.source.conversations.system: drop)",
    )


def test_fields_that_no_role_was_found_for_are_reported(read, lines):
    row = {"prompt": "a", "completion": "b"}
    dataset = read(lines({**row, "metadata": {"x": 1}, "title": None}, {**row, "title": "c"}))
    assert dataset.notes == ("fields that were not used: 'metadata' (1 rows), 'title' (1 rows)",)


def test_the_share_of_unreadable_rows_is_recorded_and_judged_by_whoever_goes_on(read, lines):
    content = lines(*[{"prompt": "a", "completion": "b"}] * 18) + "{\n[]\n"
    assert read(content).thresholds == ()
    dataset = read(content, max_unreadable_share=0.1)
    assert dataset.thresholds == (Threshold(name="unreadable_share", value=0.1, limit=0.1, direction="at most"),)
    source.require_readable(dataset)
    dataset = read(content, max_unreadable_share=0.05)
    assert (dataset.rows, dataset.rejected) == (18, {"unreadable": 2})
    with pytest.raises(DataError) as error:
        source.require_readable(dataset)
    for words in (
        "2 of 20 rows (10.00%)",
        "the accepted 5.00%",
        "data.jsonl row 19: not JSON",
        "row 20: not an object",
    ):
        assert words in str(error.value)


def test_the_rows_set_aside_are_written_even_when_none_is_left(read):
    with pytest.raises(DataError, match="none of its 2 rows can be used"):
        read('{"prompt": [1], "completion": "b"}\n{\n')
    found = table.read_table(read.folder / "out1" / "rejected.parquet")
    assert [r["reason"].partition(":")[0] for r in found] == ["field 'prompt' is a list, not text", "not JSON"]


def test_a_table_of_rejected_rows_is_not_taken_for_data(read, tmp_path, rejected):
    read('{"prompt": [1], "completion": "b"}\n{"prompt": "a", "completion": "b"}\n')
    with pytest.raises(DataError, match="a row of a table of rejected rows"):
        read.file("out1/rejected.parquet")


def test_a_limit_takes_no_notice_of_what_comes_after_it(read, lines):
    assert read(lines({"prompt": "a", "completion": "b"}) + "{\n" * 5, limit=1).rejected == {}


def test_progress_is_reported_in_batches_and_at_the_end(lines, tmp_path):
    (tmp_path / "x.jsonl").write_text(lines(*[{"prompt": "a", "completion": "b"}] * (2 * table.BATCH + 1)))
    told = []
    source.read(FileData(kind="file", path="x.jsonl"), tmp_path, tmp_path, progress=lambda *said: told.append(said))
    count = 2 * table.BATCH + 1
    assert told == [("read", table.BATCH, None), ("read", 2 * table.BATCH, None), ("read", count, count)]


@pytest.mark.real_data
def test_every_real_instruction_file_is_read(real_data, read):
    for path, count, schema in (
        ("gsm8k/train.jsonl", 7473, "question/answer"),
        ("llamafactory-demo/alpaca_en_demo.json", 999, "alpaca"),
        ("llamafactory-demo/identity.json", 91, "alpaca"),
        ("self-instruct/predictions/davinci_predictions.jsonl", 252, "instruction/response"),
    ):
        dataset = read.file(str(real_data / path))
        assert (dataset.rows, dataset.rejected) == (count, {}), path
        assert dataset.source_schema.startswith(f"{schema} (")
