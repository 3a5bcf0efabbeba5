"""A failed run is reported to a webhook, once, without secrets; a receiver that fails is reported without its address."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import dagster as dg
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.executor.child_process_executor import ChildProcessCrashException

from sft_pipeline.definitions import build_defs
from sft_pipeline.errors import NotificationError
from sft_pipeline.lineage.automation.failure_sensor import notice
from sft_pipeline.lineage.automation.webhook import post
from sft_pipeline.lineage.failure_text import why
from sft_pipeline.lineage.launch import _line

TOKEN = "hooks-are-secret-0815"


@contextmanager
def receiver(*answers):
    """A local receiver that gives `answers` in turn, the last one for ever; yields its address and what it got."""
    got = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(answers[min(len(got), len(answers)) - 1])
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/{TOKEN}", got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def failed(instance, monkeypatch):
    """Context of a run whose step failed with a message that quotes secrets."""
    monkeypatch.setenv("SOME_API_TOKEN", "tok-4711-abcdef")

    @dg.op
    def training():
        raise dg.Failure("no access with tok-4711-abcdef at https://me:hunter2@hub.example/x")

    @dg.job(tags={"dagster/partition": "toy"})
    def full_lineage():
        training()

    result = full_lineage.execute_in_process(instance=instance, raise_on_error=False)
    (event,) = [e for e in result.all_events if e.is_run_failure]
    return dg.build_run_status_sensor_context("notify_failures", event, instance, result.dagster_run).for_run_failure()


def sensor(project):
    return build_defs(root=project, store=project / "store").get_repository_def().get_sensor_def("notify_failures")


@pytest.mark.slow
def test_a_failed_run_is_reported_with_experiment_step_message_and_link_and_without_secrets(
    failed, toy_project, monkeypatch
):
    with receiver(200) as (address, got):
        monkeypatch.setenv("SFT_PIPELINE_WEBHOOK", address)
        monkeypatch.setenv("SFT_PIPELINE_UI", "https://dagster.example/")
        sensor(toy_project)(failed)
    (told,) = got
    run_id = failed.dagster_run.run_id
    assert told | {"text": ""} == {
        "text": "",
        "run_id": run_id,
        "job": "full_lineage",
        "experiment": "toy",
        "step": "training",
        "message": "no access with [SOME_API_TOKEN] at https://hub.example/x",
        "link": f"https://dagster.example/runs/{run_id}",
    }
    assert "toy, training" in told["text"] and told["link"] in told["text"]
    assert "hunter2" not in json.dumps(told) and "tok-4711" not in json.dumps(told)


@pytest.mark.slow
def test_without_an_address_the_sensor_is_off_and_with_one_it_is_on(toy_project, failed, monkeypatch):
    monkeypatch.delenv("SFT_PIPELINE_WEBHOOK", raising=False)
    off = sensor(toy_project)
    assert off.default_status == dg.DefaultSensorStatus.STOPPED
    assert "not set" in off(failed).skip_message
    monkeypatch.setenv("SFT_PIPELINE_WEBHOOK", "https://hooks.example/x")
    assert sensor(toy_project).default_status == dg.DefaultSensorStatus.RUNNING


def test_a_receiver_that_is_busy_is_tried_again_and_one_that_refuses_is_not():
    with receiver(503, 429, 200) as (address, got):
        post(address, {"n": 1}, pauses=(0, 0))
    assert got == [{"n": 1}] * 3
    with receiver(403) as (address, got), pytest.raises(NotificationError, match="answered 403"):
        post(address, {"n": 1}, pauses=(0, 0))
    assert len(got) == 1


@pytest.mark.parametrize("answer", [500, 302])
def test_a_receiver_that_fails_or_points_elsewhere_is_reported_without_its_address(answer):
    with receiver(answer) as (address, _), pytest.raises(NotificationError) as caught:
        post(address, {}, pauses=())
    assert str(answer) in str(caught.value)
    assert TOKEN not in str(caught.value) and caught.value.__context__ is None


@pytest.mark.parametrize(
    "address",
    [f"http://127.0.0.1:1/{TOKEN}", f"file:///etc/{TOKEN}", f"http://host:{TOKEN}/", f"http://[{TOKEN}", TOKEN],
)
def test_an_address_that_cannot_be_reached_is_never_quoted(address):
    with pytest.raises(NotificationError) as caught:
        post(address, {}, pauses=())
    assert TOKEN not in str(caught.value) and caught.value.__context__ is None


@pytest.mark.slow
def test_a_failed_check_is_reported_with_what_it_found(instance, monkeypatch):
    @dg.asset
    def gate_report():
        pass

    @dg.asset_check(asset=gate_report, blocking=True)
    def gate():
        return dg.AssetCheckResult(passed=False, description="verdict: refused")

    job = dg.Definitions(assets=[gate_report], asset_checks=[gate], jobs=[dg.define_asset_job("all")])
    result = job.resolve_job_def("all").execute_in_process(instance=instance, raise_on_error=False)
    (event,) = [e for e in result.all_events if e.is_run_failure]
    context = dg.build_run_status_sensor_context("notify_failures", event, instance, result.dagster_run)
    told = notice(context.for_run_failure())
    assert told["message"].startswith("gate: verdict: refused\n") and told["experiment"] is None


@pytest.mark.slow
def test_a_step_that_was_asked_to_end_is_reported_in_words_by_the_notice_and_in_the_terminal(instance):
    @dg.op
    def training():
        raise DagsterExecutionInterruptedError

    @dg.job
    def full_lineage():
        training()

    result = full_lineage.execute_in_process(instance=instance, raise_on_error=False)
    (event,) = [e for e in result.all_events if e.is_run_failure]
    context = dg.build_run_status_sensor_context("notify_failures", event, instance, result.dagster_run)
    words = "interrupted (SIGTERM, Ctrl-C or terminated); materialize again, it resumes where it stopped"
    assert notice(context.for_run_failure())["message"] == words
    (log,) = instance.all_logs(result.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    assert _line(log) == f"training               STOPPED  {words}"


def test_a_step_whose_process_was_killed_is_reported_in_words():
    name = ChildProcessCrashException.__name__
    error = SimpleNamespace(cls_name=name, message="dagster._core.executor…", cause=None, stack=[])
    failure = SimpleNamespace(user_failure_data=None, error=error)
    assert why(SimpleNamespace(step_failure_data=failure)).startswith(
        "its process ended suddenly (killed, memory ran out"
    )
