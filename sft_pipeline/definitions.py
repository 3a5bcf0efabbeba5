"""The code location: assembles assets, checks and resources, decides nothing.

Load it with `dagster dev -w workspace.yaml` or `-m sft_pipeline.definitions`.
"""

import gc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

# Dagster's objects live as long as the process: without this, each full collection would walk over all of them, the first one
# while the modules below are loaded.
gc.freeze()

from sft_pipeline.lineage.asset_checks import build_checks
from sft_pipeline.lineage.automation import (
    data_sensor,
    dead_runs_sensor,
    evaluation_schedule,
    evaluation_sensor,
    failure_sensor,
    specification_sensor,
)
from sft_pipeline.lineage.executor import step_executor
from sft_pipeline.lineage.io_managers import ArtifactIOManager
from sft_pipeline.lineage.jobs import build_jobs
from sft_pipeline.lineage.presentation import build_assets
from sft_pipeline.lineage.resources import Project
from sft_pipeline.lineage.specifications import build_specifications, experiments
from sft_pipeline.provenance.store import default_store
from sft_pipeline.specification import project_root


def build_defs(
    root: Path | None = None, store: Path | str | None = None, resource_overrides: Mapping[str, Any] | None = None
) -> dg.Definitions:
    """The definitions over the experiments in `root`/specs.

    Args:
        root: folder with `specs/`; by default the project's.
        store: the artifact store, a folder or a URL; by default the project's.
        resource_overrides: resources that replace the ordinary ones, for tests.
    """
    root = root or project_root()
    partitions = experiments(root)
    project = Project(root=str(root), store=str(store or default_store()))
    resources = {"project": project, "io_manager": ArtifactIOManager(project=project), **(resource_overrides or {})}
    return dg.Definitions(
        assets=[*build_specifications(partitions), *build_assets(partitions)],
        asset_checks=build_checks(partitions),
        jobs=build_jobs(),
        schedules=[evaluation_schedule.build()],
        sensors=[
            evaluation_sensor.build(),
            specification_sensor.build(list(partitions.get_partition_keys())),
            data_sensor.build(),
            dead_runs_sensor.build(),
            failure_sensor.build(),
            specification_sensor.build_observer(),
        ],
        resources=resources,
        executor=step_executor(),
    )


defs = build_defs()
