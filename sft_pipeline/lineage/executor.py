"""How steps run: each in its own process, CUDA steps on a device of their own.

`cuda_executor` is Dagster's multiprocess executor, configured. It records the process that executes the run
(run_process.py) and enters the run as one of the UI's code location. A step's own process means that the memory of its
device is free when it ends. Processes are forked from a server that has the code location loaded already, and the model's
libraries where that is safe (a spawned one would spend seconds on importing them). The server sees no CUDA device: a step
that is tagged for one takes a lease on it before it imports torch, see devices.py and step.py. The tag's limit keeps a run
from starting more of them than there are devices; the lease holds across runs, whoever starts them.

With SFT_PIPELINE_EXECUTOR=k8s every step is a Kubernetes job instead: the same op tag says what its pod asks for.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.storage.tags import REPOSITORY_LABEL_TAG
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._serdes import ConfigurableClassData

from sft_pipeline.errors import PipelineError, SpecificationError
from sft_pipeline.lineage.asset import ASSETS, stale
from sft_pipeline.lineage.processes.devices import devices
from sft_pipeline.lineage.processes.run_process import hold
from sft_pipeline.lineage.tags import CUDA, DEVICE, PARTITION, RECOMPUTE
from sft_pipeline.provenance.store import Store, default_store
from sft_pipeline.specification import load_by_name, project_root

if TYPE_CHECKING:
    from dagster._core.execution.context.system import PlanOrchestrationContext
    from dagster._core.execution.plan.plan import ExecutionPlan
    from dagster._core.execution.retries import RetryMode
    from dagster._core.execution.step_dependency_config import StepDependencyConfig

EXECUTOR = "SFT_PIPELINE_EXECUTOR"
"""Variable that chooses the executor: `local` (default) or `k8s`."""

PRELOADED = (
    "lineage.processes.hide_cuda",
    "lineage.processes.orphans",
    "definitions",
    "lineage.launch",
    "experiment",
    "dataset.table",
)
"""Modules that the server of the step processes imports."""

INSTANCE = ("dagster._core.instance.factory", "upath.core")
"""What Dagster loads to open any instance; the modules of its storages are loaded besides."""

LIBRARIES = "lineage.processes.libraries"
"""What that server imports besides, where steps will load the model and there is no CUDA device."""

LOCATION = "sft_pipeline"
"""The name under which workspace.yaml and pyproject.toml load this code location."""


def step_executor() -> dg.ExecutorDefinition:
    """The executor that this deployment asks for.

    Raises:
        SpecificationError: SFT_PIPELINE_EXECUTOR names none, or the package of the one that it names is missing.
    """
    name = os.environ.get(EXECUTOR, "local")
    if name == "local":
        return cuda_executor
    if name != "k8s":
        raise SpecificationError(f"{EXECUTOR} is {name!r}; it must be local or k8s")
    try:
        from dagster_k8s import k8s_job_executor
    except ImportError as error:
        raise SpecificationError(f"{EXECUTOR} is k8s: install the extra, pip install 'sft-pipeline[k8s]'") from error
    return k8s_job_executor


class _Held(dg.Executor):
    """An executor that records its process, and the code location of its run, before it runs the first step.

    Args:
        inner: the executor inside.
        loaded: the same, whose steps find the model's libraries imported.
    """

    def __init__(self, inner: dg.Executor, loaded: dg.Executor) -> None:
        self._inner, self._loaded = inner, loaded

    @property
    def retries(self) -> "RetryMode":
        """Those of the executor inside."""
        return self._inner.retries

    @property
    def step_dependency_config(self) -> "StepDependencyConfig":
        """That of the executor inside."""
        return self._inner.step_dependency_config

    def execute(
        self, plan_context: "PlanOrchestrationContext", execution_plan: "ExecutionPlan"
    ) -> Iterator[dg.DagsterEvent]:
        """Execute as the executor inside does."""
        hold(plan_context.instance, plan_context.run_id)
        _belong_to_the_location(plan_context.instance, plan_context.run_id)
        chosen = self._loaded if not devices() and _makes_with_a_model(plan_context.dagster_run) else self._inner
        yield from chosen.execute(plan_context, execution_plan)


def _belong_to_the_location(instance: dg.DagsterInstance, run_id: str) -> None:
    """Let a run that a command started belong to the UI's code location, as the runs that the UI starts do.

    Without an origin it stands in no overview and cannot be re-executed: of `sft-pipeline run`, `dagster asset materialize`
    and `dg launch` alike.
    """
    run = instance.get_run_by_id(run_id)
    if run is None or run.remote_job_origin is not None:
        return
    target = LoadableTargetOrigin(executable_path=sys.executable, module_name="sft_pipeline.definitions")
    location = ManagedGrpcPythonEnvCodeLocationOrigin(target, LOCATION)
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(location, SINGLETON_REPOSITORY_NAME), run.job_name)
    instance.add_run_tags(run_id, {REPOSITORY_LABEL_TAG: origin.repository_origin.get_label()})
    run = instance.get_run_by_id(run_id)
    if run is not None:
        instance.run_storage.replace_job_origin(run, origin)


def _makes_with_a_model(run: dg.DagsterRun) -> bool:
    """Whether the run has steps that load the model, and not all of its results stand already."""
    selected = {key.path[-1] for key in run.asset_selection} if run.asset_selection else set(ASSETS)
    models = {name for name in selected & ASSETS.keys() if "pytorch" in ASSETS[name].kinds}
    root, name = project_root(), run.tags.get(PARTITION, "")
    if not models or run.tags.get(RECOMPUTE) == "true":
        return bool(models)
    try:
        store = Store(default_store())
        if not models <= set(store.assets(name)):
            return True
        return not selected.isdisjoint(stale(store, name, load_by_name(name, root), root))
    except (PipelineError, dg.Failure, OSError):  # the steps will say what is wrong
        return True


def _held_multiprocess(context: dg.InitExecutorContext) -> _Held:
    create = dg.multiprocess_executor.executor_creation_fn
    assert create is not None
    # A step opens the instance first; loading the modules of its storages takes most of the time of a step without work.
    parts = context.instance.get_ref()._asdict().values() if context.instance.is_persistent else ()
    storages = {part.module_name for part in parts if isinstance(part, ConfigurableClassData)}

    def loading(*names: str) -> dg.Executor:
        modules = [*(f"sft_pipeline.{name}" for name in names), *INSTANCE, *sorted(storages)]
        method = {"start_method": {"forkserver": {"preload_modules": modules}}}
        return create(context._replace(executor_config={**context.executor_config, **method}))

    return _Held(loading(*PRELOADED), loading(*PRELOADED, LIBRARIES))


def _configuration(config: Mapping[str, Any]) -> dict[str, Any]:
    if wrong := [name for name, value in config.items() if value < 0]:
        raise SpecificationError(f"execution.config.{wrong[0]} must not be negative")
    # Without a device the limit is one model at a time: two would only take each other's cores and memory.
    cuda_steps = config["cuda_steps"] or max(1, len(devices()))
    return {
        "max_concurrent": config["max_concurrent"] or cuda_steps + 1,
        "tag_concurrency_limits": [{"key": DEVICE, "value": CUDA[DEVICE], "limit": cuda_steps}],
    }


cuda_executor = dg.configured(
    dg.ExecutorDefinition(
        name="held_multiprocess",
        config_schema=dg.multiprocess_executor.config_schema,  # type: ignore[arg-type]
        requirements=dg.multiple_process_executor_requirements(),
        executor_creation_fn=_held_multiprocess,
    ),
    name="cuda_executor",
    config_schema={
        "cuda_steps": dg.Field(
            int, default_value=0, description="CUDA steps of a run at a time; 0: as many as there are devices."
        ),
        "max_concurrent": dg.Field(int, default_value=0, description="Steps of a run at a time; 0: one more."),
    },
)(_configuration)
