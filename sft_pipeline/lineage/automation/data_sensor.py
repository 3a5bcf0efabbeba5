"""Runs the lineage again when the data files of an experiment have another content than its raw dataset.

They are the file or folder of data.source, where it is one, the test file, the benchmarks and the
items of the capability report's benchmarks.

A tick costs a `stat` per file. Files are hashed only after a `stat` that changed was the same at two ticks: one that is
still being written changes in between. Times are compared, never ordered, so a clock that jumps only has a file hashed
once more.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import BaseModel

from sft_pipeline.artifacts import InstructionDataset, SourceFiles
from sft_pipeline.errors import PipelineError
from sft_pipeline.lineage.automation.sensor_tick import Tick
from sft_pipeline.lineage.resources import Project
from sft_pipeline.provenance.hashing import hash_value

if TYPE_CHECKING:
    from sft_pipeline.experiment import Experiment

NAME = "run_on_new_data"


class FileState(BaseModel):
    """What the last tick knew of an experiment's files."""

    stat: str
    """Hash of names, sizes, times and inodes."""

    content: dict[str, SourceFiles] | None
    """What they hold, by the specification's field, or None until they are stable."""


def build() -> dg.SensorDefinition:
    """The sensor over the job `full_lineage`, stopped."""

    @dg.sensor(
        name=NAME,
        job_name="full_lineage",
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Runs the lineage of an experiment when the files that its raw dataset was read from have changed.",
    )
    def new_data(context: dg.SensorEvaluationContext, project: Project) -> dg.SensorResult:
        tick, root, store = Tick(context, NAME), Path(project.root), project.artifacts()
        seen = tick.remembered(FileState) or {}
        states: dict[str, FileState] = {}
        for name, experiment in tick.experiments(root).items():
            try:
                paths = _paths(experiment)
                if not paths or store.pointer("raw_dataset", name) is None:
                    continue
                state = states[name] = _state(paths, root, seen.get(name))
                if state.content is None:
                    tick.log(f"{name}: its data files are new or being written; checked again at the next tick")
                    continue
                raw = store.describe("raw_dataset", name, InstructionDataset)
            except (PipelineError, OSError) as error:
                tick.log(f"{name}: {error}")
                continue
            changed = [str(files) for field, files in state.content.items() if raw.source_files.get(field) != files]
            if changed and not tick.busy(name):
                content = {field: files.model_dump() for field, files in state.content.items()}
                tick.request_run(name, hash_value(content), f"its data have changed: {'; '.join(changed)}")
        return tick.result(json.dumps({name: state.model_dump() for name, state in states.items()}))

    return new_data


def _paths(experiment: "Experiment") -> dict[str, str]:
    """Every path that the raw dataset is read from, by its field; a hub's or the embedded data have none of their own."""
    from sft_pipeline.capabilities.items import paths as benchmark_paths

    data = experiment.data
    paths = {"data.source.path": data.source.path} if data.source.kind == "file" else {}
    paths |= {"data.test.path": data.test.path} if data.test else {}
    paths |= {f"data.leakage.benchmarks.{name}": file.path for name, file in data.leakage.benchmarks.items()}
    return paths | benchmark_paths(experiment.evaluation.capabilities, ["items"])


def _state(paths: dict[str, str], root: Path, before: FileState | None) -> FileState:
    from sft_pipeline.dataset.source.files import Files, find

    def listed() -> dict[str, Files]:
        return {field: find(path, root, field) for field, path in paths.items()}

    def stat(files: dict[str, Files]) -> str:
        return hash_value(
            [
                (f.written, name, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino)
                for f in files.values()
                for name, s in ((n, p.stat()) for n, p in zip(f.names, f.paths, strict=True))
            ]
        )

    files = listed()
    now = stat(files)
    if before is None or before.stat != now:
        return FileState(stat=now, content=None)
    if before.content is not None:
        return before
    content = {field: f.record() for field, f in files.items()}
    return FileState(stat=now, content=content if stat(listed()) == now else None)
