"""What every asset does around its work: reuse what is still valid, give it folders, attach metadata and version."""

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from inspect import Parameter, Signature, getdoc, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import dagster as dg
from dagster._core.events import DagsterEvent, EngineEventData

from sft_pipeline.artifacts import Artifact, GateReport
from sft_pipeline.errors import StoreError
from sft_pipeline.lineage.asset import ASSETS, Asset, Check
from sft_pipeline.lineage.metadata import describe
from sft_pipeline.lineage.processes.devices import evaluates_on, lease
from sft_pipeline.lineage.resources import Project, user_errors
from sft_pipeline.lineage.specifications import key
from sft_pipeline.lineage.tags import COMMIT, CUDA, DEVICE, RECOMPUTE, SPECIFICATION, STAGE, VERDICT
from sft_pipeline.provenance.environment import commit
from sft_pipeline.provenance.hashing import hash_value
from sft_pipeline.provenance.store import Store
from sft_pipeline.provenance.usage import measured
from sft_pipeline.report.rendering import about
from sft_pipeline.training import nodes

if TYPE_CHECKING:
    from sft_pipeline.dataset.progress import Progress
    from sft_pipeline.experiment import Experiment

A = TypeVar("A", bound=Artifact)


@dataclass
class Work:
    """What the function of an asset works with.

    Attributes:
        context: the step's context.
        project: specifications and store.
        folder: the step's own folder, which outlives a killed run.
        outs: an empty output folder for each asset that the step makes.
    """

    context: dg.AssetExecutionContext
    project: Project
    folder: Path = Path()
    outs: dict[str, Path] = field(default_factory=dict)

    @cached_property
    def experiment(self) -> "Experiment":
        """The experiment of the run's partition, as its file says now."""
        return self.project.experiment(self.context.partition_key)

    @property
    def root(self) -> Path:
        """The project's root folder, where relative paths of a specification start."""
        return Path(self.project.root)

    @property
    def out(self) -> Path:
        """The output folder of a step that makes one asset."""
        (folder,) = self.outs.values()
        return folder

    @cached_property
    def store(self) -> Store:
        """The artifact store."""
        return self.project.artifacts()

    def stored(self, asset: str, kind: type[A]) -> A:
        """The current artifact of an asset that is no input of the step.

        Raises:
            StoreError: it was never materialized, or is damaged.
        """
        return self.store.get(asset, self.context.partition_key, kind)

    def progressed(self, stage: str, done: int, total: int | None, text: str, figures: str = "") -> None:
        """Record how far a stage is as an event of the run, whose values the terminal draws as a bar.

        Args:
            stage: what is under way.
            done: what is done of it.
            total: all of it, where that is known.
            text: the line of the log.
            figures: what stands behind the bar.
        """
        values: dict[str, Any] = {STAGE: stage, "done": done, "figures": figures}
        values |= {} if total is None else {"total": total}
        DagsterEvent.engine_event(self.context.get_step_execution_context(), text, EngineEventData(values))

    @property
    def progress(self) -> "Progress":
        """Progress of long work in the event log: at most one event of a stage in ten seconds, none for short work."""
        began: dict[str, float] = {}
        last: dict[str, float] = {}

        def progress(stage: str, done: int, total: int | None) -> None:
            now = time.monotonic()
            if now - last.setdefault(stage, began.setdefault(stage, now)) >= 10:
                last[stage] = now
                of, left = "", ""
                if total and done:
                    seconds = round((now - began[stage]) / done * (total - done))
                    of, left = f" of {total:,}", f", {timedelta(seconds=seconds)} left"
                self.progressed(stage, done, total, f"{stage}: {done:,}{of} rows{left}", "rows")

        return progress

    def on_devices(self) -> AbstractContextManager[Any]:
        """The lease on the devices that the step needs; nothing where the specification declares the CPU."""
        op, experiment = self.context.op_execution_context.op, self.experiment
        if DEVICE not in op.tags or experiment.model.device != "cuda":
            return nullcontext()
        trained = nodes.share(experiment.training.processes)
        beside = int(evaluates_on(experiment) == "own")
        searched = trained * experiment.search.devices if experiment.search else 0
        count = {"lora_adapter": trained + beside, "search_report": searched}.get(op.name, 1)
        return lease(count, self.context.log.info) if count else nullcontext()


STEPS: dict[str, Callable[[dg.PartitionsDefinition], dg.AssetsDefinition]] = {}
"""What builds the definition of each step, by the step's name."""


def step(
    kind: type[Artifact],
    *,
    group: str,
    docs: str,
    code: Iterable[str],
    depends: "Callable[[Experiment, Path], Mapping[str, Any]]",
    metadata: Callable[[Any], Mapping[str, Any]],
    outputs: Mapping[str, str] | None = None,
    checks: Mapping[str, Iterable[Check]] | Iterable[Check] = (),
    kinds: Iterable[str] = (),
    cuda: bool = False,
    deps: Iterable[str] = (),
    require: Callable[..., None] | None = None,
    **properties: Any,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare the asset that the decorated function makes, under the function's name and with its docstring.

    The function takes a `Work` and the consumed artifacts, which it names as parameters, and returns the artifact, whose
    files it has written to `work.out`. It is called only where no stored result stands.

    Args:
        kind: the artifact's type.
        group: as in `Asset`, as are docs, code, depends, metadata, kinds and `properties`.
        docs: see there.
        code: see there.
        depends: see there.
        metadata: see there.
        outputs: names and descriptions, where the function makes several assets: it returns a mapping then and writes
            to `work.outs`.
        checks: the blocking checks; by asset where there are several.
        kinds: see there.
        cuda: whether the step loads the model, and so needs a device where the specification names one.
        deps: see there.
        require: called with the same arguments as the function before a stored result is looked for; raises where the
            step must not go on.
        properties: see there.
    """

    def declare(function: Callable[..., Any]) -> Callable[..., Any]:
        name, parameters = function.__name__, tuple(signature(function).parameters.values())[1:]
        described = dict(outputs or {name: getdoc(function) or ""})
        for made, text in described.items():
            ASSETS[made] = Asset(
                name=made,
                step=name,
                type=kind,
                group=group,
                docs=docs,
                description=text,
                code=tuple(code),
                depends=depends,
                metadata=metadata,
                consumes=tuple(p.name for p in parameters),
                deps=tuple(deps),
                together=tuple(described),
                kinds=frozenset(kinds),
                source=(function.__code__.co_filename, function.__code__.co_firstlineno),
                checks=tuple(checks.get(made, ()) if isinstance(checks, Mapping) else checks),
                **properties,
            )

        def build(partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
            def compute(context: dg.AssetExecutionContext, project: Project, **artifacts: Artifact) -> Any:
                work = Work(context, project)
                with user_errors():
                    if require is not None:
                        require(work, **artifacts)
                upstream = {a: artifacts[a] for a in ASSETS[next(iter(described))].inputs(work.experiment)}

                def make(work: Work) -> Mapping[str, Artifact]:
                    made = function(work, **artifacts)
                    return made if outputs else {name: made}

                yield from produce(work, [ASSETS[made] for made in described], upstream, make)

            given = {"context": dg.AssetExecutionContext, "project": Project}
            kept = [Parameter(n, Parameter.POSITIONAL_OR_KEYWORD, annotation=a) for n, a in given.items()]
            compute.__signature__ = Signature([*kept, *parameters])  # type: ignore[attr-defined]
            return dg.multi_asset(
                name=name,
                partitions_def=partitions,
                group_name=group,
                op_tags=CUDA if cuda else None,
                deps=[*deps, key(name)],
                outs={made: ASSETS[made].out() for made in described},
            )(compute)

        STEPS[name] = build
        return function

    return declare


def run_tags(experiment: "Experiment") -> dict[str, str]:
    """The tags of a run that say what was run."""
    return {COMMIT: commit()[:63], SPECIFICATION: _content(experiment)}


def _content(experiment: "Experiment") -> str:
    return hash_value(experiment.model_dump(mode="json"))[:12]


def produce(
    work: Work,
    assets: Sequence[Asset],
    upstream: Mapping[str, Artifact],
    make: Callable[[Work], Mapping[str, Artifact]],
) -> Iterator[dg.MaterializeResult]:
    """Do a step's work, or hand on its stored result when nothing that it depends on has changed.

    Args:
        work: context and project.
        assets: the assets that are made together.
        upstream: the consumed artifacts, by asset.
        make: the work; takes `work` with its folders and returns the artifacts.
    """
    from sft_pipeline.report.experiment.sheet import neighbours

    context, store, experiment = work.context, work.store, work.context.partition_key
    versions = {name: artifact.version for name, artifact in upstream.items()}
    first, names = assets[0], [asset.name for asset in assets]
    content = _content(work.experiment)
    if COMMIT not in context.run.tags:
        context.instance.add_run_tags(context.run.run_id, run_tags(work.experiment))
    with user_errors():
        result_key = first.key(work.experiment, work.root, versions)
        work.folder = store.begin(first.name, experiment, result_key, context.log.info, names)
        try:
            again = context.run.tags.get(RECOMPUTE) == "true"
            reusable = first.reusable(work.experiment)
            made = _kept(work, assets, result_key) if reusable and not again else {}
            if kept := bool(made):
                context.log.info(f"{', '.join(names)}: was made from exactly this already, the stored result stands")
            else:
                made_from = _made_from(upstream)
                pages = neighbours(store, experiment, made_from, names)
                header = about(_facts(work, made_from), pages)
                with work.on_devices() as devices, header, measured(devices or (), work.folder) as used:
                    made = _make(work, names, make)
                made = {n: a.model_copy(update={"measurements": a.measurements | used}) for n, a in made.items()}
                made = {n: a.model_copy(update={"upstream": versions, "key": result_key}) for n, a in made.items()}
                # What was looked at again and is the same, such as a base in a folder, is not stored a second time.
                stored = {} if reusable or again else _kept(work, assets, result_key)
                if stored and all(stored[name].version == artifact.version for name, artifact in made.items()):
                    for artifact in made.values():
                        shutil.rmtree(artifact.root, ignore_errors=True)
                    made, kept = stored, True
        except BaseException:
            store.end(first.name, experiment, stored=False)
            raise
        # Until the IO manager has stored the result the folder stays ours: see ArtifactIOManager.
    for asset in assets:
        artifact = made[asset.name]
        if isinstance(artifact, GateReport):
            context.instance.add_run_tags(context.run.run_id, {VERDICT: artifact.verdict})
        yield dg.MaterializeResult(
            asset_key=asset.name,
            value=artifact,
            data_version=dg.DataVersion(artifact.version),
            tags={SPECIFICATION: content},
            metadata={
                **describe(artifact, asset.metadata),
                "reused": kept,
                "code": asset.code_version,
                "commit": commit(),
            },
        )


def _made_from(upstream: Mapping[str, Artifact]) -> dict[str, str]:
    """Versions of the inputs, and of what these were made from, by asset."""
    made_from = {name: version for artifact in upstream.values() for name, version in artifact.upstream.items()}
    return made_from | {name: artifact.version for name, artifact in upstream.items()}


def _facts(work: Work, made_from: Mapping[str, str]) -> dict[str, str]:
    """What the pages of a step say of where they come from."""
    source = work.experiment.model.source.model_dump(mode="json", include={"kind", "path", "repository", "revision"})
    base = " ".join(str(value) for value in (*source.values(), made_from.get("base_model", "")[:12]) if value)
    return {
        "experiment": work.context.partition_key,
        "description": " ".join(work.experiment.description.split()),
        "base": base,
        **({"adapter": made_from["lora_adapter"][:12]} if "lora_adapter" in made_from else {}),
        "commit": commit(),
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    }


def _make(work: Work, names: Sequence[str], make: Callable[[Work], Mapping[str, Artifact]]) -> dict[str, Artifact]:
    work.outs = {name: work.store.new_folder(f"{name}-") for name in names}
    try:
        return dict(make(work))
    except BaseException:
        for folder in work.outs.values():
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _kept(work: Work, assets: Sequence[Asset], key: str) -> dict[str, Artifact]:
    """Stored artifacts that were made from exactly this, and are sound, if there are all of them; otherwise nothing."""
    found, experiment = {}, work.context.partition_key
    for asset in assets:
        try:
            current = work.store.pointer(asset.name, experiment) and work.store.describe(
                asset.name, experiment, asset.type
            )
            if current and current.key == key:
                found[asset.name] = work.stored(asset.name, asset.type)
                continue
        except StoreError as error:
            work.context.log.warning(f"{asset.name} is recomputed: {error}")
            return {}
        artifact = work.store.find(asset.name, experiment, asset.type, key)
        if artifact is None:
            return {}
        found[asset.name] = artifact
    return found
