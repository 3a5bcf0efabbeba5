"""Files from elsewhere: what is taken, and what is refused by file, row and field."""

import gzip
import json
import secrets
import subprocess
import sys
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sft_pipeline.errors import DataError
from sft_pipeline.evaluation.inputs.outputs import read_item_rows, read_outputs


@pytest.fixture
def written(tmp_path):
    def write(content, name="a.jsonl"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_what_is_clear_is_taken(written):
    lines = [
        {"id": 7, "output": "x", "success": 1, "tokens": 3, "finish_reason": "length", "type": "t", "other": [1]},
        {"id": "8", "output": "line\u2028separator", "success": 0.0, "answer": 5, "group": 3},
        {"id": "9", "success": None, "group": "", "tokens": 4.0},
        {"id": "10", "output": "unjudged"},
    ]
    text = "\r\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\r\n\r\n"
    for content in (text.encode("utf-8-sig"), gzip.compress(text.encode())):
        one, two, three, four = read_outputs(written(content))
        assert (one.id, one.success, one.tokens, one.cut, one.type) == ("7", True, 3, True, "t")
        assert (two.success, two.output, two.item) == (
            False,
            "line\u2028separator",
            {"group": "3", "reference": '{"answer":5}'},
        )
        assert (three.judged, three.success, three.output) == (True, None, None)
        assert (three.tokens, three.item) == (4, {}), "a blank group is none"
        assert (four.judged, four.success, four.cut) == (False, None, None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        ('{"id": "1", "output": "a"}\n{"id": }', "row 2: not JSON"),
        ('[{"id": "1"}]', "row 1, field output: is missing"),
        ('[{"id": "1", "output": "a"}, {"id": "2", "outp', "after element 1: Unterminated string"),
        ('["a"]', "row 1: is text"),
        ('{"prompt": "p", "response": "r"}', r"row 1, field id: is missing \(fields: prompt, response\)"),
        ('{"id": true, "output": "a"}', "row 1, field id: must be text or a whole number, is True"),
        ('{"id": 1.5, "output": "a"}', "row 1, field id: must be"),
        ('{"id": " ", "output": "a"}', "row 1, field id: must be"),
        ('{"id": "1", "response": "r"}', "field output: is missing, and so is success .*if response holds"),
        ('{"id": "1", "output": ["a"]}', "field output: must be text"),
        ('{"id": "1", "output": "a", "success": "true"}', "field success: must be true, false or null, is 'true'"),
        ('{"id": "1", "output": "a", "success": 2}', "field success: must be"),
        ('{"id": "1", "output": "a", "success": NaN}', "NaN is no JSON value"),
        ('{"id": "1", "output": "a", "output": "b"}', "stands twice"),
        ('{"id": "1", "output": "\\ud800"}', "field output: holds a lone surrogate"),
        ('{"id": "1", "output": "a", "answer": 1, "reference": {}}', "field answer: stands beside reference"),
        ('{"id": 1, "output": "a"}\n\n{"id": "1", "output": "b"}', r"id 1 stands more than once \(rows 1, 3\)"),
        (
            '{"id": "1", "output": "a", "tokens": 1e30}',
            "field tokens: must be a whole number of generated tokens, is 1e",
        ),
        ('{"id": "1", "output": "a", "tokens": -5}', "field tokens: must be a whole number"),
        ('{"id": "1", "output": "a", "tokens": 3.5}', "field tokens: must be a whole number"),
        (b'{"id": "1", "output": "\xff"}', "cannot be read as UTF-8"),
        (gzip.compress(b"x" * 99, mtime=0)[:-12] + b"\0" * 12, "cannot be read"),
    ],
)
def test_what_is_not_is_named_by_file_row_and_field(written, content, message):
    with pytest.raises(DataError, match=message) as error:
        read_outputs(written(content))
    assert "a.jsonl" in str(error.value)


ROWS = [
    {"id": "1", "output": "a, b", "success": True, "tokens": 3},
    {"id": "2", "output": "", "success": False, "tokens": None},
    {"id": "3", "output": "c", "success": None, "tokens": 5},
]


@pytest.mark.parametrize("name", ["a.json", "a.csv", "a.parquet", "floats.parquet"])
def test_arrays_and_tables_hold_the_same_rows(tmp_path, name):
    import pandas as pd

    path, table = tmp_path / name, pd.DataFrame(ROWS)
    if name.endswith(".json"):
        path.write_text(json.dumps(ROWS, indent=1))
    elif name.endswith(".csv"):
        table.to_csv(path, index=False)
    else:  # pandas makes numbers of booleans with a gap
        table.astype({"success": float} if name.startswith("floats") else {"success": object}).to_parquet(path)
    found = read_outputs(path)
    assert [(o.id, o.output, o.success, o.tokens) for o in found] == [tuple(row.values()) for row in ROWS]
    assert all(o.judged for o in found)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match="none.jsonl: there is no such file"):
        read_outputs(tmp_path / "none.jsonl")


@pytest.mark.parametrize("value", [datetime(2026, 1, 1, tzinfo=UTC), float("nan"), b"a"])
def test_a_reference_that_is_no_json_is_named(tmp_path, value):
    path = tmp_path / "items.parquet"
    pq.write_table(pa.Table.from_pylist([{"id": 1, "reference": {"answer": value}}]), path)
    with pytest.raises(DataError, match="row 1, field reference: holds a value that JSON does not know"):
        read_item_rows(path)


def test_references_of_items_are_objects_texts_or_numbers(written):
    lines = [
        '{"id": 1, "response": "r", "reference": {"answer": "a"}}',
        '{"id": 2, "reference": "{\\"answer\\": 4}"}',
        '{"id": 3, "reference": "plain"}',
    ]
    found = read_item_rows(written("\n".join(lines)))
    assert found["1"] == {"response": "r", "reference": '{"answer":"a"}', "row": "1"}
    assert [found[id]["reference"] for id in ("2", "3")] == ['{"answer":4}', '{"answer":"plain"}']


@pytest.mark.parametrize(
    ("word", "cut"),
    [
        *((w, True) for w in ("length", "LENGTH", "max_tokens", "MAX_TOKENS", "model_length", "max-length", "max_new_tokens")),
        *((w, True) for w in ("FinishReason.MAX_TOKENS", "FINISH_REASON_MAX_TOKENS", "model_context_window_exceeded")),
        *((w, False) for w in ("stop", "STOP", "eos_token", "end_turn", "stop_sequence", "COMPLETE", "tool_calls")),
        *((w, None) for w in ("content_filter", "error", "abort", "")),
    ],
)  # fmt: skip
def test_the_words_of_other_engines_tell_of_cuts_and_unknown_ones_tell_nothing(written, word, cut):
    (row,) = read_outputs(written(json.dumps({"id": "1", "output": "a", "finish_reason": word})))
    assert (row.cut, row.unknown_finish) == (cut, word if cut is None else None)


@pytest.mark.slow
def test_a_line_of_three_gigabytes_in_a_small_file_is_refused_in_little_memory(tmp_path):
    path = tmp_path / "bomb.jsonl.gz"
    part = gzip.compress(secrets.token_hex(1 << 18).encode() + b" " * (64 << 20), 1)  # no more than RATIO
    path.write_bytes(gzip.compress(b'{"id": "1", "output": "a"}\n{"id": "2", "output": "') + part * 48)
    code = (
        "import sys; from pathlib import Path; from sft_pipeline.evaluation.inputs.rows import rows\n"
        "try:\n    list(rows(Path(sys.argv[1])))\nexcept Exception as error:\n    print(error)\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, timeout=300)
    message, peak = done.stdout.splitlines()
    assert message.endswith("row 2: is longer than 16,777,216 bytes; every line is one JSON object with one answer")
    assert int(peak) < 600_000  # KB; the imports take some 200,000
