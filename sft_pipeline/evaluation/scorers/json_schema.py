"""The answer is JSON that satisfies a JSON Schema."""

from collections.abc import Mapping
from typing import Any

from sft_pipeline.evaluation.scorers import json_record
from sft_pipeline.evaluation.scorers.item import Item, Score
from sft_pipeline.evaluation.scorers.text import excerpt
from sft_pipeline.provenance import subprocess_call

OPTIONS = {
    "schema": "JSON Schema, for all items of the type.",
}
REFERENCE = {
    "schema": "The schema of this item; it comes before the option.",
}
VERIFIER = True

FORMATS = {"date", "email", "idn-email", "ip-address", "ipv4", "ipv6", "regex", "uuid"}
"""Formats that are checked: those for which jsonschema needs no further package. Whether one of those is installed must
not decide a verdict."""

SECONDS = 2.0
"""Processor time that one answer may take; a schema may hold patterns that backtrack."""


def score(item: Item, output: str, options: Mapping[str, Any]) -> Score:
    """Parse the whole output strictly, as `json_record` does, and validate it by jsonschema.

    The schema is reference["schema"] or the option `schema`; without `$schema` it is read as draft 2020-12. Of its formats
    date, email, ip, regex and uuid are checked (`FORMATS`). No reference to another document is followed: nothing is fetched.

    Raises:
        DataError: there is no schema, it is none, or it refers to a document outside of itself.
    """
    schema = item.setting("schema", options)
    try:
        problem, reason, readable = subprocess_call.call(__name__, "validate", schema, output, seconds=SECONDS)
    except subprocess_call.Exhausted as limit:
        return Score(None, f"not decided: validating the answer {limit}")
    if problem:
        raise item.wrong_setting("schema", problem)
    return Score(not reason, reason, readable=readable)


def validate(schema: Any, output: str) -> tuple[str, str, bool]:
    """What is wrong with the schema, what is wrong with the answer (empty texts for nothing), and whether it is JSON."""
    import jsonschema
    from jsonschema_specifications import REGISTRY
    from referencing.exceptions import Unresolvable

    if not isinstance(schema, dict | bool):
        return f"must be a JSON Schema, an object; is {type(schema).__name__}", "", False
    if isinstance(schema, dict) and not isinstance(schema.get("$schema", ""), str):
        return "is no JSON Schema: its $schema must be text", "", False
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        return f"is no JSON Schema: {excerpt(error.message, 120)} at {error.json_path}", "", False
    # With a registry of its own a validator resolves what is in it and retrieves nothing.
    formats = jsonschema.FormatChecker(())
    formats.checkers = {name: check for name, check in kind.FORMAT_CHECKER.checkers.items() if name in FORMATS}
    validator = kind(schema, registry=REGISTRY, format_checker=formats)
    try:
        given = json_record.parse(output)
    except ValueError as error:
        return "", excerpt(str(error), 120), False
    try:
        fault = jsonschema.exceptions.best_match(validator.iter_errors(given))
    except Unresolvable as outside:
        return f"refers to {outside.ref!r}, which is not in it; put the definition into the schema's $defs", "", True
    except RecursionError:
        return "", "JSON nested too deeply", True
    except OverflowError:
        return "", "a number too large to be checked", True
    except ValueError as error:
        return "", excerpt(str(error), 120), True
    return "", f"{fault.json_path}: {excerpt(fault.message, 120)}" if fault else "", True
