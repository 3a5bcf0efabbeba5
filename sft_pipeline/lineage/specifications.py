"""Specifications as partitions and as assets: upstream of what they decide, so that Dagster shows what an edit makes stale.

`specification` is the file of an experiment; `specification/STEP` is the part of it, and of the libraries and files that
it names, on which the step's result depends. Nothing is materialized: their data versions are observed, by a sensor and
before each run of the command line.
"""

import difflib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.definitions.data_version import DATA_VERSION_TAG, extract_data_version_from_entry

from sft_pipeline.errors import PipelineError
from sft_pipeline.lineage.asset import ASSETS
from sft_pipeline.provenance.hashing import hash_value
from sft_pipeline.specification import plan_only, specifications, texts

if TYPE_CHECKING:
    from sft_pipeline.experiment import Experiment

log = logging.getLogger(__name__)

GROUP = "specification"

LONGEST = 20_000
"""Characters of a file, or of a difference, that are shown."""


def experiments(root: Path) -> dg.StaticPartitionsDefinition:
    """One partition per experiment: the files under specs/ when the code location is loaded, but for those of plans alone.

    A file whose name cannot be a partition key is left out with a warning: every step loads the code location, and one such
    file would stop the runs of all other experiments.
    """
    names, problems = specifications(root)
    for problem in problems:
        log.warning(problem)
    return dg.StaticPartitionsDefinition([name for name in names if not plan_only(name, root)])


def key(step: str | None = None) -> dg.AssetKey:
    """The asset of a step's part of the specification, or of the whole."""
    return dg.AssetKey([GROUP, *([step] if step else [])])


def build_specifications(partitions: dg.PartitionsDefinition) -> list[dg.AssetSpec]:
    """The specification and its parts, one for each step."""

    def spec(asset: dg.AssetKey, description: str, deps: Sequence[dg.AssetSpec] = ()) -> dg.AssetSpec:
        return dg.AssetSpec(
            asset, deps=deps, description=description, group_name=GROUP, partitions_def=partitions, kinds={"yaml"}
        )

    whole = spec(key(), "The experiment's file under specs/, as it was last observed.")
    parts = [
        spec(key(step), f"What the specification decides of {step}.", [whole])
        for step in dict.fromkeys(asset.step for asset in ASSETS.values())
    ]
    return [whole, *parts]


def observe(instance: dg.DagsterInstance, name: str, experiment: "Experiment", root: Path) -> list[str]:
    """Record what the specification says now, where that is not what was recorded last.

    Returns:
        The assets whose data version changed.
    """
    versions = {key(): hash_value(experiment.model_dump(mode="json"))}
    for asset in ASSETS.values():
        if key(asset.step) not in versions:
            try:
                versions[key(asset.step)] = hash_value(asset.decided(experiment, root))
            except (PipelineError, dg.Failure, OSError):
                continue  # a file or a library that it names is missing: the step will say so
    changed = []
    for asset_key, version in versions.items():
        last = instance.get_latest_data_version_record(asset_key, is_source=True, partition_key=name)
        known = extract_data_version_from_entry(last.event_log_entry) if last else None
        if known is not None and known.value == version:
            continue
        changed.append(asset_key.to_user_string())
        metadata = _file(root / "specs" / f"{name}.yaml", last) if asset_key == key() else {}
        instance.report_runless_asset_event(
            dg.AssetObservation(asset_key, partition=name, tags={DATA_VERSION_TAG: version}, metadata=metadata)
        )
    return changed


def _file(path: Path, last: "dg.EventLogRecord | None") -> dict[str, dg.MetadataValue]:
    """The text of the file and of those that it extends, and its difference to the text that was recorded last."""
    text = "\n".join(text for _, text in texts(path))[:LONGEST]
    observation = last.event_log_entry.asset_observation if last else None
    before = observation.metadata.get("text") if observation else None
    lines = difflib.unified_diff(
        str(before.value if before else "").splitlines(), text.splitlines(), "before", "now", n=1
    )
    return {"text": dg.MetadataValue.text(text), "difference": dg.MetadataValue.text("\n".join(lines)[:LONGEST])}
