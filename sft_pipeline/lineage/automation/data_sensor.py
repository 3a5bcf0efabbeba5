"""Runs the lineage again when the data files of an experiment have another content than its raw dataset.

They are the file or folder of data.source, where it is one, the test file and the benchmarks.

Looking costs a `stat` per file. Only a file that looks another way is hashed, and only once it has looked the same at two
ticks: one that is still being written changes in between. Times are compared, never ordered, so a clock that jumps only
has a file hashed once more.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import BaseModel

from sft_pipeline.artifacts import InstructionDataset
from sft_pipeline.errors import PipelineError
from sft_pipeline.lineage.automation.sensor_tick import Tick
from sft_pipeline.lineage.resources import Project
from sft_pipeline.provenance.hashing import hash_value

if TYPE_CHECKING:
    from sft_pipeline.experiment import Experiment

NAME = "run_on_new_data"


class Look(BaseModel):
    """What was seen of an experiment's files."""

    stat: str
    """Hash of how they look."""

    content: list[str] | None
    """What they hold, or None until they have come to rest."""


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
        seen = tick.remembered(Look) or {}
        looks: dict[str, Look] = {}
        for name, experiment in tick.experiments(root).items():
            try:
                paths = _paths(experiment)
                if not paths or store.pointer("raw_dataset", name) is None:
                    continue
                look = looks[name] = _look(paths, root, seen.get(name))
                if look.content is None:
                    tick.say(f"{name}: its data are new or are being written; looked at again at the next tick")
                    continue
                raw = store.describe("raw_dataset", name, InstructionDataset)
            except (PipelineError, OSError) as error:
                tick.say(f"{name}: {error}")
                continue
            recorded = (raw.source, *raw.notes)
            changed = [text for text in look.content if not any(text in note for note in recorded)]
            if changed and not tick.busy(name):
                tick.ask(name, hash_value(look.content), f"its data have changed: {'; '.join(changed)}")
        return tick.result(json.dumps({name: look.model_dump() for name, look in looks.items()}))

    return new_data


def _paths(experiment: "Experiment") -> dict[str, str]:
    """Every path that the raw dataset is read from, by its field; a hub's or the embedded data have none of their own."""
    data = experiment.data
    paths = {"data.source.path": data.source.path} if data.source.kind == "file" else {}
    paths |= {"data.test.path": data.test.path} if data.test else {}
    return paths | {f"data.leakage.benchmarks.{name}": file.path for name, file in data.leakage.benchmarks.items()}


def _look(paths: dict[str, str], root: Path, before: Look | None) -> Look:
    from sft_pipeline.dataset.source.files import find

    def listed():
        return [find(path, root, field) for field, path in paths.items()]

    def stat(files) -> str:
        return hash_value(
            [
                (f.written, name, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino)
                for f in files
                for name, s in ((n, p.stat()) for n, p in zip(f.names, f.paths, strict=True))
            ]
        )

    files = listed()
    now = stat(files)
    if before is None or before.stat != now:
        return Look(stat=now, content=None)
    if before.content is not None:
        return before
    content = [f.description() for f in files]
    return Look(stat=now, content=content if stat(listed()) == now else None)
