"""The series of a training in TensorBoard, Weights & Biases (offline) and MLflow (files), read back from their files."""

import json
import struct
import sys
from pathlib import Path

import pytest

from sft_pipeline.errors import TrainingError
from sft_pipeline.training import trainer
from sft_pipeline.training.callbacks import trackers
from sft_pipeline.training.callbacks.trackers import IDS


@pytest.fixture(autouse=True)
def no_services(monkeypatch):
    """As on a machine where nobody has set up anything."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR", "WANDB_PROJECT", "MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID"):
        monkeypatch.delenv(name, raising=False)


def tensorboard(folder: Path) -> dict[str, dict[int, float]]:
    """Series in the event files, as TensorBoard shows them: a new session drops what lies beyond its start."""
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    series: dict[str, dict[int, float]] = {}
    for path in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event = Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]
            if event.session_log.status == SessionLog.START:
                series = {t: {s: v for s, v in points.items() if s < event.step} for t, points in series.items()}
            for value in event.summary.value:
                assert event.step not in series.setdefault(value.tag, {})
                series[value.tag][event.step] = value.simple_value
    return series


def wandb(folder: Path) -> tuple[set[str], dict[str, dict[int, float]]]:
    """Run ids and series in the transaction logs: LevelDB's log format, blocks of 32 KiB after seven bytes."""
    internal = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    ids, series = set(), {}
    for path in sorted(folder.glob("offline-run-*/*.wandb")):
        data, at, record = path.read_bytes(), 7, b""
        while at + 7 <= len(data):
            if 32768 - at % 32768 < 7:
                at += 32768 - at % 32768
                continue
            _, length, kind = struct.unpack("<IHB", data[at : at + 7])
            record += data[at + 7 : at + 7 + length]
            at += 7 + length
            if kind in (1, 4):
                message, record = internal.Record.FromString(record), b""
                if message.WhichOneof("record_type") == "run":
                    ids.add(message.run.run_id)
                if message.WhichOneof("record_type") == "history":
                    items = {i.key or i.nested_key[0]: json.loads(i.value_json) for i in message.history.item}
                    for name, value in items.items():
                        if "/" in name:
                            assert items["_step"] not in series.setdefault(name, {})
                            series[name][items["_step"]] = value
    return ids, series


def mlflow(folder: Path, run: str) -> dict[str, dict[int, float]]:
    client = pytest.importorskip("mlflow").MlflowClient(tracking_uri=folder.as_uri())
    series = {}
    for name in client.get_run(run).data.metrics:
        points = client.get_metric_history(run, name)
        series[name] = {point.step: point.value for point in points}
        assert len(series[name]) == len(points), f"{name} holds a step twice"
    return series


def holding(arguments, *secrets: str) -> list[Path]:
    """Files of the training, in its work folder and in its artifact, that hold one of the secrets."""
    files = [p for name in ("work", "out") for p in arguments[name].rglob("*") if p.is_file()]
    return [path for path in files if any(secret.encode() in path.read_bytes() for secret in secrets)]


@pytest.mark.slow
def test_a_run_that_was_killed_resumes_in_the_same_run_of_each_tracker(toy, tmp_path):
    pytest.importorskip("wandb")
    pytest.importorskip("mlflow")
    experiment = toy(report_to=("tensorboard", "wandb", "mlflow"))
    rows = [{"step": step, "steps": 6, "loss": 3.0 - step / 10} for step in range(1, 7)]
    rows.insert(4, {"step": 4, "steps": 6, "eval_loss": 2.5})
    base = {"step": 0, "steps": 6, "eval_items": 8, "eval_success": 0.125, "point": {}}
    rows.insert(6, base)  # the live series is late
    rows.append(base | {"step": 3, "eval_success": 0.5})
    before = trackers.Trackers(experiment, tmp_path, "f" * 64, 0)
    for row in rows[:2]:  # killed before the first checkpoint: the training begins at its start
        before.log(row)
    before.close(finished=False)
    first = trackers.Trackers(experiment, tmp_path, "f" * 64, 0)
    for row in rows[:7]:  # up to step 5, and the live series' base
        first.log(row)
    first.close(finished=False)
    ids = json.loads((tmp_path / IDS).read_text())
    second = trackers.Trackers(experiment, tmp_path, "f" * 64, 3)
    second.log(rows[3])  # killed between the training row and the evaluation of a step that both had been sent before
    second.close(finished=False)
    third = trackers.Trackers(experiment, tmp_path, "f" * 64, 3)
    for row in rows[3:6] + rows[7:]:  # from the checkpoint of step 3 on
        third.log(row)
    third.close(finished=True)

    kept = json.loads((tmp_path / IDS).read_text())
    assert kept["wandb"].pop("sent") == kept["mlflow"].pop("sent") == {"train": 6, "eval": 4, "live": 3}
    assert all(kept[name].items() <= ids[name].items() for name in kept)
    expected = {"train/loss": {step: 3.0 - step / 10 for step in range(1, 7)}, "eval/loss": {4: 2.5}}
    live = {"eval/success": {0: 0.125, 3: 0.5}, "eval/items": {0: 8, 3: 8}}
    seen = tensorboard(tmp_path / "tensorboard")
    assert {name: pytest.approx(points) for name, points in seen.items()} == expected | live
    assert mlflow(tmp_path / "mlflow", ids["mlflow"]["run_id"]) == expected | live
    run, sent = wandb(tmp_path / "wandb")
    late = {name: list(sent.pop(name).values()) for name in ("eval/step", *live)}
    assert (run, sent) == ({ids["wandb"]["id"]}, expected)
    assert late == {"eval/step": [0, 3], "eval/success": [0.125, 0.5], "eval/items": [8, 8]}


def test_ids_that_cannot_be_read_begin_new_runs_and_stop_no_training(toy, tmp_path, caplog):
    (tmp_path / IDS).write_text("")
    trackers.Trackers(toy(report_to=("tensorboard",)), tmp_path, "f" * 64, 3).close(finished=True)
    assert f"{tmp_path / IDS} cannot be read" in caplog.text
    assert json.loads((tmp_path / IDS).read_text()) == {"tensorboard": {"folder": "tensorboard"}}


@pytest.mark.slow
def test_training_and_evaluation_are_one_run_and_lie_in_the_artifact(toy, prepared, monkeypatch):
    pytest.importorskip("wandb")
    pytest.importorskip("mlflow")
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef" * 2 + "01234567")
    monkeypatch.setenv("WANDB_MODE", "offline")
    everywhere = toy(epochs=1.0, save_steps=5, report_to=("tensorboard", "wandb", "mlflow"))
    arguments = prepared(everywhere)
    adapter = trainer.train(*arguments.values())
    history = json.loads(adapter.path("log_history.json").read_text())
    for name, key in (("train/loss", "loss"), ("eval/loss", "eval_loss"), ("train/lora_norm_max", "lora_norm_max")):
        expected = {row["step"]: row[key] for row in history if key in row}
        assert expected
        work = arguments["work"]
        ids = json.loads((work / IDS).read_text())
        assert tensorboard(work / "tensorboard")[name] == pytest.approx(expected)
        assert wandb(work / "wandb")[1][name] == pytest.approx(expected)
        assert mlflow(work / "mlflow", ids["mlflow"]["run_id"])[name] == expected
    for path in work.rglob("*"):
        assert path.is_dir() or b"0123456789abcdef01" not in path.read_bytes(), f"{path} holds the key"
    stored = {name.partition("/")[0] for name in adapter.files}
    assert stored >= {"training_log.jsonl", "trackers.json", "tensorboard", "wandb", "mlflow"}
    client = sys.modules["mlflow"].MlflowClient(tracking_uri=(adapter.root / "mlflow").as_uri())
    run = client.get_run(ids["mlflow"]["run_id"])
    assert run.info.status == "FINISHED" and run.data.params["lora.r"] == "4"


@pytest.mark.parametrize(
    ("name", "package", "remedy"),
    [
        ("wandb", "wandb", r"pip install 'sft-pipeline\[wandb\]'"),
        ("mlflow", "mlflow", r"pip install 'sft-pipeline\[mlflow\]'"),
        ("tensorboard", "tensorboardX", "pip install 'sft-pipeline'"),
    ],
)
def test_a_tracker_that_is_not_installed_stops_before_any_work(toy, prepared, monkeypatch, name, package, remedy):
    monkeypatch.setitem(sys.modules, package, None)  # what the import system does for a module that cannot be had
    arguments = prepared(toy(report_to=(name,)))
    with pytest.raises(TrainingError, match=remedy):
        trainer.train(*arguments.values())
    assert not arguments["work"].exists()


@pytest.mark.slow
def test_a_service_that_cannot_be_reached_costs_its_series_not_the_training(toy, prepared, monkeypatch, caplog):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:sec@ret-1@127.0.0.1:9/base?token=secret-2")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    experiment = toy(max_steps=3, min_coverage=0.01, report_to=("tensorboard", "mlflow"))
    arguments = prepared(experiment)
    assert trainer.train(*arguments.values()).steps == 3
    late = trackers.Trackers(experiment, arguments["work"], "f" * 64, 3)  # of the live series, after the training
    late.log({"step": 0, "eval_items": 8, "eval_success": 0.125})
    late.close(finished=True)
    assert tensorboard(arguments["work"] / "tensorboard")["eval/success"] == {0: 0.125}
    assert "mlflow gets nothing of this training" in caplog.text and "127.0.0.1" in caplog.text
    assert "ret-1" not in caplog.text and "secret-2" not in caplog.text
    assert not holding(arguments, "ret-1", "secret-2")
    assert tensorboard(arguments["work"] / "tensorboard")["train/loss"]


@pytest.mark.slow
def test_credentials_of_a_place_that_works_are_in_no_file_and_no_log(toy, prepared, monkeypatch, tmp_path, caplog):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://me:secret-1@localhost{tmp_path}/runs")
    arguments = prepared(toy(max_steps=3, min_coverage=0.01, report_to=("mlflow",)))
    adapter = trainer.train(*arguments.values())
    ids = json.loads(adapter.path(IDS).read_text())["mlflow"]
    assert ids["tracking_uri"] == f"file://localhost{tmp_path}/runs"
    assert mlflow(tmp_path / "runs", ids["run_id"])["train/loss"]
    assert "secret-1" not in caplog.text and not holding(arguments, "secret-1")
