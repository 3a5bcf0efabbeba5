"""What the terminal and the event log show of a run."""

import contextlib
import io
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget

from sft_pipeline.lineage import launch as launching
from sft_pipeline.lineage.assets import training
from sft_pipeline.lineage.launch import _follow, launch
from sft_pipeline.lineage.step import Work
from sft_pipeline_tests.lineage.planted import SECRETS, holding, secrets_in

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.mark.slow
def test_a_selection_of_nothing_is_said_in_the_terminal(place, command):
    done = subprocess.run(
        command("run", "tiny", "--select", "sft_generatoins"), env=place, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 2 and "sft_generatoins" in done.stdout, done.stdout + done.stderr
    assert "the run stopped; see the lines above" in done.stderr and "Traceback" not in done.stdout


@pytest.fixture
def launched(instance, monkeypatch):
    """Launches nothing: gives the assets that would be materialized and what was printed before."""

    def go(select):
        asked, shown = [], io.StringIO()
        monkeypatch.setattr(dg.DagsterInstance, "get", lambda: contextlib.nullcontext(instance))
        monkeypatch.setattr(launching, "_execute", lambda instance, tags, keys: asked.append(keys) or True)
        with contextlib.redirect_stdout(shown):
            assert launch("tiny", select, recompute=False)
        return {key.path[-1] for key in asked[0]}, shown.getvalue()

    return go


@pytest.mark.slow
def test_what_one_step_makes_is_selected_together_and_what_can_be_made_alone_is_not(launched):
    splits = {"train_split", "dev_split", "test_split"}
    assert launched("test_split")[0] == splits
    assert splits < launched("test_split+")[0] and splits < launched("*test_split")[0]
    assert launched("sft_generations")[0] == {"sft_generations"}


@pytest.mark.slow
def test_a_run_whose_process_is_gone_is_ended_before_another_begins(launched, instance):
    run = create_run_for_test(instance, status=dg.DagsterRunStatus.STARTED).run_id
    file = Path(instance.storage_directory()) / run / "process"
    file.parent.mkdir(parents=True)
    file.write_text(f"4711 {socket.gethostname()}")
    assert f"run {run[:8]}: process 4711 on this machine" in launched("raw_dataset")[1]
    assert instance.get_run_by_id(run).is_failure


ROW = {"step": 50, "steps": 200, "loss": 1.5, "learning_rate": 1e-4, "grad_norm": 0.4, "tokens_per_second": 1800.0}


@pytest.mark.parametrize("terminal", ["1", "0"])
@pytest.mark.slow
def test_progress_events_are_a_bar_on_a_terminal_and_lines_elsewhere(terminal, instance, monkeypatch):
    """What the terminal draws comes from the values of the events, whatever their text says."""

    @dg.asset
    def adapter(context: dg.AssetExecutionContext) -> None:
        on_log = training.throttled(Work(context, None))
        on_log(ROW)
        on_log({"step": 50, "steps": 200, "eval_loss": 1.7})
        context.log.info("training 199/200  loss 9.9999")  # a text that looks like a record is none

    @dg.asset(deps=[adapter])
    def report(context: dg.AssetExecutionContext) -> None:
        Work(context, None).progressed("rows", 7, None, "rows: 7")

    run, done = dg.materialize([adapter, report], instance=instance), threading.Event()
    done.set()
    monkeypatch.setenv("TTY_COMPATIBLE", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        _follow(instance, run.run_id, done)
    lines = [ANSI.sub("", line).strip() for line in shown.getvalue().split("\n")]
    assert sum("dev 50/200  loss 1.7000" in line for line in lines) == 1
    assert sum("training 199/200  loss 9.9999" in line for line in lines) == 1
    assert sum("training 50/200  loss 1.5000" in line for line in lines) == (terminal == "0")
    assert ("\x1b[" in shown.getvalue()) == (terminal == "1")


@pytest.mark.slow
def test_a_bar_shows_stage_steps_and_figures_until_its_step_ends(instance, monkeypatch):
    drawn = []
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "150")

    @dg.asset
    def adapter(context: dg.AssetExecutionContext) -> None:
        on_log = training.throttled(Work(context, None))
        for step in (50, 200):
            on_log(ROW | {"step": step})
            with contextlib.redirect_stdout(io.StringIO()) as shown:
                _follow(instance, context.run.run_id, done)
            drawn.append(ANSI.sub("", shown.getvalue()))

    done = threading.Event()
    done.set()
    run = dg.materialize([adapter], instance=instance)
    assert re.search(r"training [━╺╸]+ +50/200 .* loss 1\.5000  rate 1\.00e-04  gradient 0\.4  1,800/s", drawn[0])
    assert "  training 200/200  loss 1.5000" in drawn[1] and "training 50/200  loss" not in drawn[1]
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        _follow(instance, run.run_id, done)
    assert "━" not in shown.getvalue().split("\x1b[2K")[-1]  # what is drawn last


def test_the_event_log_gets_a_training_row_now_and_then_and_the_first_and_last_always(monkeypatch):
    now, lines = 0.0, []
    monkeypatch.setattr(training.time, "monotonic", lambda: now)
    monkeypatch.setattr(Work, "progressed", lambda self, stage, done, total, text, figures: lines.append(text))
    on_log = training.throttled(Work(SimpleNamespace(log=SimpleNamespace(info=lines.append)), None))
    for step in range(1, 1001):
        now += training.EVERY / 100
        on_log({"step": step, "steps": 1000, "loss": 1.0})
        if step % 500 == 0:
            on_log({"step": step, "steps": 1000, "eval_loss": 1.0})
    assert lines[0].startswith("training 1/1000 ") and lines[-2].startswith("training 1000/1000 ")
    assert [line.split()[1] for line in lines if line.startswith("dev")] == ["500/1000", "1000/1000"]
    assert 10 <= len(lines) <= 14


def test_progress_of_long_work_is_an_event_in_ten_seconds_and_of_short_work_none(monkeypatch):
    now, lines = [0.0], []
    monkeypatch.setattr("sft_pipeline.lineage.step.time.monotonic", lambda: now[0])
    monkeypatch.setattr(Work, "progressed", lambda self, stage, done, total, text, figures: lines.append(text))
    progress = Work(None, None).progress
    for rows, total in ((100_000, 100_000), (50_000, None)):
        for done in range(0, rows + 1, 1000):
            progress("read" if total is None else "cleaned", done, total)
            now[0] += 0.25
    for _ in range(9):
        progress("short", 1, 2)
        now[0] += 1
    assert lines[0] == "cleaned: 40,000 of 100,000 rows, 0:00:15 left"
    assert lines[1:] == ["cleaned: 80,000 of 100,000 rows, 0:00:05 left", "read: 40,000 rows"]


@pytest.mark.slow
def test_each_event_is_read_once_and_shown_once(toy_project, materialize, instance, monkeypatch):
    run = materialize(toy_project, "raw_dataset").result
    read, looks, done = [], [], threading.Event()
    records = instance.get_records_for_run

    def counted(*given):
        found = records(*given)
        read.append(len(found.records))
        return found

    def wait(seconds):
        looks.append(seconds)
        return len(looks) == 5

    monkeypatch.setattr(instance, "get_records_for_run", counted)
    monkeypatch.setattr(done, "wait", wait)
    # Not capsys: Dagster closes all log handlers, and absl's closes what was the standard error when it was imported,
    # unless it still is.
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        _follow(instance, run.run_id, done)
    assert read == [len(instance.all_logs(run.run_id)), 0, 0, 0, 0]
    assert shown.getvalue().count("raw_dataset            made") == 1


REEXECUTE = """
mutation($parent: String!) {
  launchRunReexecution(reexecutionParams: {parentRunId: $parent, strategy: FROM_FAILURE}) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}
"""


@pytest.mark.slow
def test_runs_of_commands_belong_to_the_code_location_and_the_ui_re_executes_them(
    toy_project, place, command, monkeypatch
):
    """The UI's overview lists the runs of its repositories; what it re-executes goes through its GraphQL interface.

    None of them writes a secret of the environment, the one that fails included.
    """
    from dagster_graphql.test.utils import execute_dagster_graphql

    spec = toy_project / "specs" / "toy.yaml"
    whole = spec.read_text()
    spec.write_text(whole.replace("{kind: embedded, rows: 1500, world_seed: 7}", "{kind: file, path: missing.jsonl}"))
    for name, value in ({"DAGSTER_HOME": place["DAGSTER_HOME"]} | SECRETS).items():
        monkeypatch.setenv(name, value)
    failed = subprocess.run(command("run", "toy", "--select", "raw_dataset"), capture_output=True, text=True)
    assert failed.returncode == 2 and "missing.jsonl" in failed.stdout, failed.stdout + failed.stderr
    spec.write_text(whole)
    dagster = [str(Path(sys.executable).with_name("dagster")), "asset", "materialize", "-m", "sft_pipeline.definitions"]
    done = subprocess.run([*dagster, "--select", "raw_dataset", "--partition", "toy"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]

    target = ModuleTarget("sft_pipeline.definitions", None, None, "sft_pipeline")
    with dg.DagsterInstance.get() as instance:
        ours = dg.RunsFilter(tags={".dagster/repository": "__repository__@sft_pipeline"})
        of_dagster, of_launch = instance.get_runs(ours)
        assert of_dagster.is_success and of_launch.is_failure and of_launch.job_name == "full_lineage"
        assert {run.remote_job_origin.location_name for run in (of_dagster, of_launch)} == {"sft_pipeline"}
        assert of_launch.tags["sft_pipeline/commit"] and len(of_launch.tags["sft_pipeline/specification"]) == 12
        with WorkspaceProcessContext(instance, target) as process:
            context = process.create_request_context()
            answer = execute_dagster_graphql(context, REEXECUTE, {"parent": of_launch.run_id})
            made = answer.data["launchRunReexecution"]
            assert made["__typename"] == "LaunchRunSuccess", made
            run_id = made["run"]["runId"]
            instance.launch_run(run_id, context)  # as the daemon does with a run of the queue
            until = time.monotonic() + 500
            while not instance.get_run_by_id(run_id).is_finished:
                assert time.monotonic() < until
                time.sleep(0.5)
        again = instance.get_run_by_id(run_id)
        assert again.is_success and again.parent_run_id == of_launch.run_id
        assert "raw_dataset" in again.step_keys_to_execute
    assert any(
        name.startswith("home/history") for name in holding(toy_project, "missing.jsonl")
    )  # it finds what is there
    said = (failed.stdout, failed.stderr, done.stdout, done.stderr)
    assert secrets_in(toy_project) == [] and not any("PLANTED" in text for text in said)
