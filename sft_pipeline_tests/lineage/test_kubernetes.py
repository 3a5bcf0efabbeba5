"""The pods that Dagster would create, built by its own code and without a cluster."""

from pathlib import Path

import pytest
import yaml

from sft_pipeline.definitions import build_defs
from sft_pipeline.errors import SpecificationError
from sft_pipeline.lineage.executor import EXECUTOR

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", autouse=True)
def the_package():
    """Imported here, not by every process that collects the tests."""
    pytest.importorskip("dagster_k8s", reason="needs the extra k8s")


@pytest.fixture
def on_kubernetes(monkeypatch):
    monkeypatch.setenv(EXECUTOR, "k8s")
    return build_defs()


def pod(defs, asset):
    from dagster_k8s.job import DagsterK8sJobConfig, construct_dagster_k8s_job, get_user_defined_k8s_config

    op = defs.resolve_assets_def(asset).op
    job = construct_dagster_k8s_job(
        DagsterK8sJobConfig(job_image="registry/sft-pipeline:1", dagster_home="/dagster_home"),
        args=["dagster", "api", "execute_step"],
        job_name=f"step-{asset}".replace("_", "-"),
        user_defined_k8s_config=get_user_defined_k8s_config(op.tags),
    )
    return job.to_dict()["spec"]["template"]["spec"]


@pytest.mark.slow
def test_steps_become_kubernetes_jobs_by_configuration_alone(on_kubernetes):
    assert on_kubernetes.resolve_job_def("full_lineage").executor_def.name == "k8s"


@pytest.mark.parametrize(
    "asset",
    ["base_model_guard", "training_plan", "lora_adapter", "sft_generations", "checkpoint_series", "capability_report"],
)
def test_a_step_with_the_model_asks_for_one_gpu_on_a_node_that_has_one(on_kubernetes, asset):
    spec = pod(on_kubernetes, asset)
    assert spec["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": "1"}
    assert spec["node_selector"] == {"nvidia.com/gpu.present": "true"}
    (toleration,) = spec["tolerations"]
    assert (toleration["key"], toleration["effect"]) == ("nvidia.com/gpu", "NoSchedule")


@pytest.mark.parametrize("asset", ["raw_dataset", "clean_dataset", "base_model", "gate_report"])
def test_other_steps_ask_for_no_gpu(on_kubernetes, asset):
    spec = pod(on_kubernetes, asset)
    assert not (spec["containers"][0]["resources"] or {}).get("limits")
    assert not spec.get("node_selector") and not spec.get("tolerations")


def test_the_limits_of_a_runs_pod_do_not_reach_its_steps():
    """Dagster gives the run launcher's resources to the step pods as well."""
    values = yaml.safe_load((ROOT / "deploy/kubernetes/values.yaml").read_text())
    assert "resources" not in values["runLauncher"]["config"]["k8sRunLauncher"]


def test_the_chart_does_not_generate_the_secret_that_the_values_name():
    values = yaml.safe_load((ROOT / "deploy/kubernetes/values.yaml").read_text())
    assert values["global"]["postgresqlSecretName"] and values["generatePostgresqlPasswordSecret"] is False


def test_the_documented_override_replaces_label_and_limit(on_kubernetes):
    from dagster_k8s.container_context import K8sContainerContext
    from dagster_k8s.job import UserDefinedDagsterK8sConfig, get_user_defined_k8s_config

    block = (ROOT / "docs/how-to/kubernetes.md").read_text().split("```yaml\n")[1].split("```")[0]
    ((asset, override),) = yaml.safe_load(block)["execution"]["config"]["per_step_k8s_config"].items()
    tagged = get_user_defined_k8s_config(on_kubernetes.resolve_assets_def(asset).op.tags)
    override = UserDefinedDagsterK8sConfig.from_dict(override)
    merged = K8sContainerContext(run_k8s_config=tagged).merge(K8sContainerContext(run_k8s_config=override))
    assert merged.run_k8s_config.pod_spec_config["node_selector"] == {"cloud.example.com/accelerator": "h200"}
    assert merged.run_k8s_config.container_config["resources"]["limits"] == {"nvidia.com/gpu": 4}


def test_an_unknown_executor_is_refused(monkeypatch):
    monkeypatch.setenv(EXECUTOR, "celery")
    with pytest.raises(SpecificationError, match="must be local or k8s"):
        build_defs()


def test_the_local_executor_is_the_default():
    assert build_defs().resolve_job_def("full_lineage").executor_def.name == "cuda_executor"
