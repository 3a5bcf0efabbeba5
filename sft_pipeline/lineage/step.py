"""What every asset does around its work: reuse what is still valid, give it folders, attach metadata and version."""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

import dagster as dg
from pydantic import BaseModel

from sft_pipeline.artifacts import Artifact
from sft_pipeline.dataset.progress import Progress
from sft_pipeline.errors import StoreError
from sft_pipeline.lineage.code_versions import code_version
from sft_pipeline.lineage.metadata import describe
from sft_pipeline.lineage.processes.devices import lease
from sft_pipeline.lineage.resources import Project, user_errors
from sft_pipeline.lineage.tags import DEVICE, RECOMPUTE
from sft_pipeline.provenance.environment import commit
from sft_pipeline.provenance.hashing import hash_value
from sft_pipeline.provenance.store import Store

A = TypeVar("A", bound=Artifact)


def produce(
    context: dg.AssetExecutionContext,
    project: Project,
    kinds: Mapping[str, type[Artifact]],
    *,
    depends: Mapping[str, Any],
    upstream: Mapping[str, Artifact],
    make: Callable[[dict[str, Path], Path], Mapping[str, Artifact]],
    code: str,
    reusable: bool = True,
) -> list[dg.MaterializeResult]:
    """Run a step's work, or hand on its stored result when nothing that it depends on has changed.

    Args:
        context: the asset's context.
        project: specifications and store.
        kinds: the produced assets and their types.
        depends: parts of the specification (and whatever else) that the result depends on.
        upstream: the consumed artifacts, by asset.
        make: the work; takes an empty output folder per asset and a folder of its own that outlives a killed run, and
            returns the artifacts.
        code: key in `code_versions.MODULES`.
        reusable: False where the inputs lie outside the store, so that only looking again can tell.
    """
    store = project.artifacts()
    experiment = context.partition_key
    versions = {name: artifact.version for name, artifact in upstream.items()}
    key = key_of(list(kinds), code, depends, versions)
    first = next(iter(kinds))
    with user_errors():
        work = store.begin(first, experiment, key, context.log.info, kinds)
        try:
            again = context.run.tags.get(RECOMPUTE) == "true"
            made = {} if again or not reusable else _kept(context, store, kinds, experiment, key)
            if kept := bool(made):
                context.log.info(f"{', '.join(kinds)}: nothing it depends on has changed, the stored result stands")
            else:
                with on_devices(context, project):
                    made = _work(store, kinds, make, work)
                made = {n: a.model_copy(update={"upstream": versions, "key": key}) for n, a in made.items()}
        except BaseException:
            store.end(first, experiment, stored=False)
            raise
        # Until the IO manager has stored the result the folder stays ours: see ArtifactIOManager.
    return [
        dg.MaterializeResult(
            asset_key=name,
            value=artifact,
            data_version=dg.DataVersion(artifact.version),
            metadata={**describe(artifact), "reused": kept, "code": code_version(code), "commit": commit()},
        )
        for name, artifact in made.items()
    ]


def produce_one(
    context: dg.AssetExecutionContext,
    project: Project,
    kind: type[A],
    *,
    depends: Mapping[str, Any],
    upstream: Mapping[str, Artifact],
    make: Callable[[Path, Path], A],
    reusable: bool = True,
    asset: str | None = None,
) -> dg.MaterializeResult[A]:
    """`produce` for one asset: `make` takes its empty output folder and the step's own folder.

    `asset` names it where the step makes several that are reused each for itself.
    """
    name = asset or context.asset_key.path[-1]
    (result,) = produce(
        context,
        project,
        {name: kind},
        depends=depends,
        upstream=upstream,
        make=lambda outs, work: {name: make(outs[name], work)},
        code=name,
        reusable=reusable,
    )
    return result


def key_of(assets: Sequence[str], code: str, depends: Mapping[str, Any], upstream: Mapping[str, str]) -> str:
    """Hash of all that a step depends on: the stored artifacts carry it, and stand as long as it is the same.

    Args:
        assets: the produced assets.
        code: key in `code_versions.MODULES`.
        depends: parts of the specification (and whatever else) that the result depends on.
        upstream: versions of the consumed artifacts, by asset.
    """
    parts = {name: _plain(value) for name, value in depends.items()}
    return hash_value(
        {"assets": list(assets), "code": code_version(code), "depends": parts, "upstream": dict(upstream)}
    )


def logged(context: dg.AssetExecutionContext) -> Progress:
    """Progress of long work in the event log: at most one line of a stage in ten seconds, and none for short work."""
    last: dict[str, float] = {}

    def progress(stage: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        if now - last.setdefault(stage, now) >= 10:
            last[stage] = now
            context.log.info(f"{stage}: {done:,}{f' of {total:,}' if total else ''} rows")

    return progress


def on_devices(context: dg.AssetExecutionContext, project: Project):
    """The lease on the devices that the step's work needs; nothing where the specification declares the CPU."""
    experiment = project.experiment(context.partition_key)
    if DEVICE not in context.op.tags or experiment.model.device != "cuda":
        return nullcontext()
    step = context.op.name
    return lease(experiment.training.processes if step == "lora_adapter" else 1, context.log.info)


def _work(store: Store, kinds, make, work: Path) -> dict[str, Artifact]:
    outs = {name: store.new_folder(f"{name}-") for name in kinds}
    try:
        return dict(make(outs, work))
    except BaseException:
        for folder in outs.values():
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _kept(context, store: Store, kinds: Mapping[str, type[A]], experiment: str, key: str) -> dict[str, A]:
    """The stored artifacts if all of them were made from exactly this, and are sound; otherwise nothing."""
    found = {}
    for name, kind in kinds.items():
        try:
            if store.pointer(name, experiment) is None:
                return {}
            artifact = store.get(name, experiment, kind)
        except StoreError as error:
            context.log.warning(f"{name} is made again: {error}")
            return {}
        if artifact.key != key:
            return {}
        found[name] = artifact
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return value
