"""The innermost cause of a failure, where it was raised, and what to do."""

from pathlib import Path

import dagster as dg
import pytest

from sft_pipeline.lineage.failure_text import cause, why


def failed(error):
    """The failure event of a step in which `error` was raised below others."""

    @dg.op
    def it():
        try:
            raise error
        except type(error) as inner:
            raise RuntimeError("a library failed") from inner

    @dg.job
    def job():
        it()

    result = job.execute_in_process(raise_on_error=False)
    return next(event for event in result.all_events if event.is_step_failure)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(28, "No space left on device", "/data/x"), ["No space left on device: '/data/x'", "Free space there"]),
        (PermissionError(13, "Permission denied", "/data/x"), ["'/data/x'", "Give write permission there"]),
        (KeyError("column"), ["KeyError: 'column'", "please report it"]),
    ],
)
def test_the_cause_below_others_is_named_with_its_remedy(error, expected):
    text = why(failed(error))
    assert all(part in text for part in expected) and "executing op" not in text and "library failed" not in text


def test_what_keeps_a_run_from_starting_is_explained_too():
    try:
        try:
            raise ValueError("file is not a database")
        except ValueError as error:
            raise RuntimeError("(sqlite3.DatabaseError)") from error
    except RuntimeError as error:
        assert "file is not a database" in cause(error) and "docs/how-to/operation.md" in cause(error)


def test_of_a_configuration_without_its_variables_only_these_are_named(monkeypatch, tmp_path):
    shipped = Path(__file__).resolve().parents[2] / "dagster_home" / "dagster.postgres.yaml"
    (tmp_path / "dagster.yaml").write_text(shipped.read_text())
    monkeypatch.delenv("DAGSTER_PG_PASSWORD", raising=False)
    with pytest.raises(dg.DagsterInvalidConfigError) as error:
        dg.DagsterInstance.from_config(str(tmp_path))
    text = cause(error.value)
    assert "not set in the environment" in text and "DAGSTER_PG_PASSWORD" in text and ". Set it where" in text
    assert "Stack Trace" not in text
