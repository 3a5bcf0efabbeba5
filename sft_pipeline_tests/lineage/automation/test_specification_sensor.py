"""New and changed specifications start runs; comments, lost cursors and broken neighbours do not."""

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from sft_pipeline.artifacts import TrainingReport
from sft_pipeline.provenance.store import Store


@pytest.fixture
def tick(ticks):
    return ticks("run_new_specifications")


@pytest.fixture
def specs(toy_project):
    return toy_project / "specs"


def test_what_is_there_at_the_first_tick_is_noted_and_not_run(tick):
    started, why = tick()
    assert started == [] and "1 specifications noted" in why
    assert tick() == ([], "nothing has changed")


@pytest.mark.slow
def test_a_new_specification_starts_one_run_however_often_the_tick_is_repeated(tick, specs):
    tick()
    before = tick.cursor
    (specs / "second.yaml").write_text((specs / "toy.yaml").read_text())
    assert tick()[0] == ["second"]
    assert tick() == ([], "nothing has changed")
    tick.cursor = before  # the daemon died before it had stored the cursor
    started, why = tick()
    assert started == [] and "was started for exactly this" in why


def test_a_lost_or_deleted_cursor_starts_nothing(tick, specs):
    tick()
    (specs / "second.yaml").write_text((specs / "toy.yaml").read_text())
    assert tick()[0] == ["second"]
    tick.cursor = None
    assert tick()[0] == []


def test_a_cursor_that_cannot_be_read_is_reported_and_what_is_there_is_noted(tick):
    tick.cursor = "{torn"
    started, why = tick()
    assert started == [] and "cursor could not be read" in why and "1 specifications noted" in why
    assert tick() == ([], "nothing has changed")


@pytest.mark.slow
def test_comments_and_layout_are_no_change_and_a_value_that_changes_back_is_one_each_time(tick, specs):
    tick()
    text = (specs / "toy.yaml").read_text()
    (specs / "toy.yaml").write_text("# a comment\n\n" + text.replace("batch_size: 16", "batch_size:   16"))
    assert tick()[0] == []
    for batch in (8, 4, 8, 16):
        (specs / "toy.yaml").write_text(text.replace("batch_size: 16", f"batch_size: {batch}"))
        assert tick()[0] == ["toy"]


@pytest.mark.slow
def test_a_broken_specification_is_named_with_file_and_line_and_stops_no_other(tick, specs):
    tick()
    (specs / "broken.yaml").write_text((specs / "toy.yaml").read_text().replace("max_steps", "max_stepz"))
    (specs / "torn.yaml").write_text("data: {source: \n")
    (specs / "endless.yaml").write_text("description: &a [*a]\n")
    (specs / "hexadecimal.yaml").write_text("description: x\nevaluation: {limit: 0x_}\n")
    (specs / "a name.yaml").write_text((specs / "toy.yaml").read_text())
    started, why = tick()
    assert started == []
    assert (
        "broken.yaml:9" in why
        and "torn.yaml:2" in why
        and "endless.yaml" in why
        and "hexadecimal.yaml:2" in why
        and "a name" in why
    )
    (specs / "second.yaml").write_text((specs / "toy.yaml").read_text())
    assert tick()[0] == ["second"]


def test_a_deleted_specification_is_reported_as_long_as_something_of_it_is_stored(tick, specs, toy_project, tmp_path):
    tick()
    folder = tmp_path / "report"
    folder.mkdir()
    Store(toy_project / "store").put("training_report", "toy", TrainingReport.finalize(folder, findings=()))
    text = (specs / "toy.yaml").read_text()
    (specs / "toy.yaml").unlink()
    for _ in range(2):
        assert tick() == ([], "toy: its specification was deleted; 1 of its artifacts remain in the store")
    (specs / "toy.yaml").write_text(text)
    assert tick() == ([], "nothing has changed")


@pytest.mark.slow
def test_a_change_while_a_run_is_under_way_waits_until_it_has_ended(tick, specs, instance):
    tick()
    run = create_run_for_test(instance, tags={"dagster/partition": "toy"}, status=dg.DagsterRunStatus.STARTED)
    (specs / "toy.yaml").write_text((specs / "toy.yaml").read_text().replace("batch_size: 16", "batch_size: 8"))
    started, why = tick()
    assert started == [] and "is under way" in why
    instance.delete_run(run.run_id)
    assert tick()[0] == ["toy"]


def test_the_request_names_no_partition_that_the_loaded_code_location_would_have_to_know(tick, specs):
    tick()
    (specs / "second.yaml").write_text((specs / "toy.yaml").read_text())
    (request,) = tick.evaluate().run_requests
    assert request.partition_key is None and request.tags["dagster/partition"] == "second"
