"""Answers against a JSON Schema, and schemas that are none."""

import socket
import threading
from contextlib import suppress

import pytest

from sft_pipeline.errors import DataError
from sft_pipeline.evaluation.scorers import json_schema

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}, "born": {"format": "date"}},
    "required": ["name"],
    "additionalProperties": False,
}


def test_an_answer_that_satisfies_the_schema(judge):
    assert judge(json_schema, ' {"name": "Ana", "age": 3, "born": "2020-02-29"}\n', schema=PERSON).success
    assert judge(json_schema, '{"name": "Ana"}', options={"schema": PERSON}).success


def test_a_format_that_needs_a_further_package_is_not_looked_at_where_that_is_installed(judge):
    pytest.importorskip("rfc3339_validator")
    assert judge(json_schema, '"yesterday"', schema={"format": "date-time"}).success


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("Here: {}", "not JSON: "),
        ('{"name": "Ana", "name": "Bo"}', "not JSON: a duplicate key"),
        ("{}", "$: 'name' is a required property"),
        ('{"name": "Ana", "age": "3"}', "$.age: '3' is not of type 'integer'"),
        ('{"name": "Ana", "age": -1}', "$.age: -1 is less than the minimum of 0"),
        ('{"name": "Ana", "born": "2021-02-29"}', "$.born: '2021-02-29' is not a 'date'"),
        ('{"name": "<b>", "x": 1}', "$: Additional properties are not allowed ('x' was unexpected)"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(judge, output, reason):
    score = judge(json_schema, output, schema=PERSON)
    assert score.success is False and score.reason.startswith(reason)


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ("object", "must be a JSON Schema, an object; is str"),
        (None, "must be a JSON Schema, an object; is NoneType"),
        ({"$schema": 5}, r"is no JSON Schema: its \$schema must be text"),
        ({"type": "thing"}, r"is no JSON Schema: 'thing' is not valid .* at \$\.type"),
        ({"pattern": "("}, "is no JSON Schema: .* is not a 'regex'"),
        ({"$ref": "#/$defs/none"}, r"refers to '/\$defs/none', which is not in it"),
    ],
)
def test_a_schema_that_is_none_names_item_and_field(judge, schema, problem):
    with pytest.raises(DataError, match=rf"item i1 .*field reference\.schema: {problem}"):
        judge(json_schema, '"x"', schema=schema)


@pytest.mark.slow
def test_a_reference_to_another_document_is_refused_and_nothing_is_fetched(judge):
    visitors = []

    def answer(server: socket.socket) -> None:
        with suppress(TimeoutError):
            connection, _ = server.accept()
            visitors.append(connection)
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.5)
        thread = threading.Thread(target=answer, args=(server,))
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/schema.json"
        with pytest.raises(DataError, match="field reference.schema: refers to 'http://127.0.0.1:.*/schema.json'"):
            judge(json_schema, "{}", schema={"$ref": url})
        thread.join()
    assert visitors == []


@pytest.mark.slow
def test_patterns_depth_and_numbers_without_bounds_end(judge):
    score = judge(json_schema, '"' + "a" * 60 + '!"', schema={"pattern": "^(a+)+$"})
    assert (score.success, score.reason) == (None, "not decided: validating the answer took more than 2 s")
    deep = {"type": "array", "items": {"$ref": "#"}}
    assert judge(json_schema, "1e400", schema={"multipleOf": 0.01}).reason == "a number too large to be checked"
    assert judge(json_schema, "[" * 900 + "]" * 900, schema=deep).reason == "JSON nested too deeply"
