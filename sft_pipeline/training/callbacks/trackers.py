"""The series of a training in TensorBoard, Weights & Biases and MLflow: one run each, also over a crash.

The losses on the training rows, those of the evaluations on dev and the live series go to the same run. Its ids stand in
`trackers.json`, with how far its records have been sent, so that a process that resumes a killed training continues the
same run and sends again at most the record in which the other was killed. Without WANDB_API_KEY Weights & Biases works
offline and asks nothing; without MLFLOW_TRACKING_URI MLflow writes to a folder of files. Both are then in the artifact,
unless WANDB_DIR names another place for the one. A service that fails loses its series, never the training.
"""

import importlib.util
import json
import logging
import os
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from sft_pipeline.errors import TrainingError
from sft_pipeline.experiment import Experiment, Training
from sft_pipeline.provenance import files
from sft_pipeline.provenance.secrets import without_credentials

logger = logging.getLogger("sft_pipeline.training")

IDS = "trackers.json"
"""Where the series went: folder, run id and place, by tracker; for a service also the last step that it has got."""

PROJECT = "sft-pipeline"
"""Project (W&B) and experiment (MLflow), unless WANDB_PROJECT and MLFLOW_EXPERIMENT_NAME say otherwise."""

FOLDERS = ("tensorboard", "wandb", "mlflow")
"""Folders of the trackers that write files."""

SERVICES = ("wandb", "mlflow")
"""Trackers that would keep a record twice; of TensorBoard's files a new session drops what lies beyond its start."""

_PACKAGES = {"tensorboard": "tensorboardX", "wandb": "wandb", "mlflow": "mlflow"}


def require(training: Training) -> None:
    """Refuse a training whose trackers are not installed.

    Raises:
        TrainingError: naming the packages and how to get them.
    """
    for name in training.report_to:
        if importlib.util.find_spec(_PACKAGES[name]) is None:
            extra = "" if name == "tensorboard" else f"[{name}]"
            raise TrainingError(
                f"training.report_to names {name}, but the package {_PACKAGES[name]} is not installed: "
                f"pip install 'sft-pipeline{extra}', or take {name} out of training.report_to"
            )


class Trackers:
    """The open runs of a training; `log` takes every log record, `close` ends them."""

    def __init__(self, experiment: Experiment, work: Path, run: str, after: int):
        """Open a run with each tracker that the specification names, or the run that an earlier process began.

        Args:
            experiment: the specification.
            work: the training's own folder.
            run: fingerprint of the training; the run is named after it.
            after: step at which the training resumes.
        """
        self.path = work / IDS
        self.ids = _read(self.path)
        settings = parameters(experiment)
        openers = {
            "tensorboard": lambda known: _TensorBoard(work / "tensorboard", after),
            "wandb": lambda known: _WandB(work, run, known, settings),
            "mlflow": lambda known: _MLflow(work / "mlflow", run, known, settings),
        }
        self.open: dict[str, Any] = {}
        for name in experiment.training.report_to:
            try:
                known = self.ids.get(name, {})
                self.open[name] = openers[name](known)
                self.ids[name] = self.open[name].ids | {k: v for k, v in known.items() if k == "sent"}
            except Exception as error:
                if name == "tensorboard":
                    raise
                logger.warning("%s gets nothing of this training: %s", name, without_credentials(error))
        self._keep()

    def log(self, record: Mapping[str, Any]) -> None:
        """Hand the record's figures on, each once."""
        if "train_runtime" in record:  # a summary of this process alone
            return
        kind = "live" if "eval_items" in record else "eval" if "eval_loss" in record else "train"
        # The epoch belongs to the training record of the step.
        left_out = ("step", "steps") if kind == "train" else ("step", "steps", "epoch")
        series = {_name(k): v for k, v in record.items() if k not in left_out and isinstance(v, int | float)}
        for name, tracker in list(self.open.items()):
            sent = self.ids[name].setdefault("sent", {}) if name in SERVICES else {}
            if record["step"] <= sent.get(kind, -1):
                continue
            try:
                if kind == "live" and name == "wandb":
                    tracker.log_late(record["step"], series)
                else:
                    tracker.log(record["step"], series)
            except Exception as error:
                if name == "tensorboard":  # a file of our own: that is a matter of the disk
                    raise
                logger.warning("%s gets no further records of this training: %s", name, without_credentials(error))
                del self.open[name]
            else:
                if name in SERVICES:
                    sent[kind] = record["step"]
                    self._keep()

    def close(self, finished: bool) -> None:
        """End the runs; one that is not `finished` may be resumed."""
        for name, tracker in self.open.items():
            try:
                tracker.close(finished)
            except Exception as error:
                logger.warning("%s could not be closed: %s", name, without_credentials(error))

    def _keep(self) -> None:
        files.write(self.path, json.dumps(self.ids, indent=1) + "\n")


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """The ids in trackers.json; none where the file is not there or is damaged: then new runs begin."""
    if not path.exists():
        return {}
    try:
        ids = json.loads(path.read_bytes())
        if isinstance(ids, dict) and all(isinstance(known, dict) for known in ids.values()):
            return ids
        problem = "it holds no object of objects"
    except ValueError as error:
        problem = str(error)
    logger.warning("%s cannot be read (%s): the series continue in a new run of each tracker", path, problem)
    return {}


def _name(key: str) -> str:
    return f"eval/{key.removeprefix('eval_')}" if key.startswith("eval_") else f"train/{key}"


def parameters(experiment: Experiment) -> dict[str, Any]:
    """What a tracker shows as the run's settings: the training section and how the model is loaded, flat."""
    training = experiment.training.model_dump(mode="json")
    flat = {f"lora.{k}": v for k, v in training.pop("lora").items()}
    return {"description": experiment.description, **training, **flat, **experiment.model.loading}


class _TensorBoard:
    """Event files, written in this thread, so that a full disk is an error here."""

    def __init__(self, folder: Path, after: int):
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        folder.mkdir(parents=True, exist_ok=True)
        self.ids = {"folder": folder.name}
        # Two processes of one training may begin in the same second.
        self.writer = EventsWriter(str(folder / "events"), f".{os.getpid()}.{uuid.uuid4().hex[:6]}")
        # TensorBoard then drops what a killed process wrote beyond this step, which is 0 before the first checkpoint.
        start = SessionLog(status=SessionLog.START)
        self.writer.write_event(Event(wall_time=time.time(), step=after + 1, session_log=start))

    def log(self, step: int, series: Mapping[str, float]) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in series.items()]
        self.writer.write_event(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))
        self.writer.flush()

    def close(self, finished: bool) -> None:
        self.writer.close()


class _WandB:
    def __init__(self, work: Path, run: str, known: Mapping[str, str], config: Mapping[str, Any]):
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        project = known.get("project") or os.environ.get("WANDB_PROJECT", PROJECT)
        identity = known.get("id") or uuid.uuid4().hex[:8]
        mode = os.environ.get("WANDB_MODE") or ("online" if os.environ.get("WANDB_API_KEY") else "offline")
        options: dict[str, Any] = {
            "project": project,
            "id": identity,
            "name": f"sft-{run[:8]}",
            "resume": "allow" if mode == "online" else None,  # offline, `wandb sync` joins the parts by their id
            "dir": os.environ.get("WANDB_DIR") or str(work),
            "config": dict(config),
            "settings": wandb.Settings(
                silent=True, console="off", disable_git=True, disable_code=True, save_code=False, init_timeout=30
            ),
        }
        # A run's folder is named by the second, so that the parts of a run that begin in one would overwrite each other.
        while list(Path(options["dir"]).glob(f"wandb/*run-{time.strftime('%Y%m%d_%H%M%S')}-{identity}")):
            time.sleep(0.1)
        try:
            self.run = wandb.init(mode=cast(Any, mode), **options)
        except wandb.Error as error:
            logger.warning(
                "Weights & Biases cannot be reached, its run is kept offline: %s", without_credentials(error)
            )
            mode = "offline"
            self.run = wandb.init(mode=mode, **options | {"resume": None})
        self.ids = {"id": identity, "project": project, "mode": mode}

    def log(self, step: int, series: Mapping[str, float]) -> None:
        self.run.log(dict(series), step=step)

    def log_late(self, step: int, series: Mapping[str, float]) -> None:
        """Log what belongs to a step that later ones were logged after: W&B drops a row whose step is not the highest.

        It becomes a row of its own, plotted over `eval/step`. Between two steps of the training there is room for one.
        """
        for name in series:
            self.run.define_metric(name, step_metric="eval/step")
        self.run.log({**series, "eval/step": step}, commit=True)

    def close(self, finished: bool) -> None:
        self.run.finish(exit_code=0 if finished else 1)


class _MLflow:
    def __init__(self, folder: Path, run: str, known: Mapping[str, str], config: Mapping[str, Any]):
        given = os.environ.get("MLFLOW_TRACKING_URI")
        if not given or given.startswith("file:") or "://" not in given:
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # MLflow would rather have a database
        # A server that does not answer must not hold the training up for minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        self.metric = Metric
        place = given or folder.as_uri()
        self.client = MlflowClient(tracking_uri=place)
        self.run = known.get("run_id", "")
        if self.run:
            self.client.update_run(self.run, status="RUNNING")
        else:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
            experiment = self.client.get_experiment_by_name(name)
            number = experiment.experiment_id if experiment else self.client.create_experiment(name)
            self.run = self.client.create_run(number, run_name=f"sft-{run[:8]}").info.run_id
            self.client.log_batch(self.run, params=[Param(k, str(v)[:500]) for k, v in config.items()])
        self.ids = {"run_id": self.run, "tracking_uri": without_credentials(given or folder.name)}

    def log(self, step: int, series: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        self.client.log_batch(self.run, metrics=[self.metric(k, float(v), now, step) for k, v in series.items()])

    def close(self, finished: bool) -> None:
        self.client.set_terminated(self.run, "FINISHED" if finished else "KILLED")
