"""Dagster repeats nothing: what a second try can help is tried again by the client that knows the error."""

import shutil
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.dependency import NodeHandle

from sft_pipeline.definitions import build_defs

HOME = Path(__file__).resolve().parents[2] / "dagster_home"


@pytest.mark.slow
def test_no_step_and_no_run_is_repeated_by_itself(tmp_path):
    for job in build_defs().get_repository_def().get_all_jobs():
        policies = {name: job.get_retry_policy_for_handle(NodeHandle(name, None)) for name in job.graph.node_dict}
        assert policies and set(policies.values()) == {None}
        assert "dagster/max_retries" not in {**job.tags, **job.run_tags}
    shutil.copy(HOME / "dagster.yaml", tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert not instance.run_retries_enabled and instance.run_retries_max_retries == 0


@pytest.mark.slow
def test_an_error_of_the_specification_or_the_data_is_not_repeated_even_under_a_retry_policy(toy_project, instance):
    spec = toy_project / "specs" / "toy.yaml"
    spec.write_text(spec.read_text().replace("{kind: embedded, rows: 1500, world_seed: 7}", "{kind: file, path: none}"))
    repeated = dg.define_asset_job("repeated", selection="raw_dataset", op_retry_policy=dg.RetryPolicy(max_retries=2))
    defs = dg.Definitions.merge(
        build_defs(root=toy_project, store=toy_project / "store"), dg.Definitions(jobs=[repeated])
    )
    done = defs.resolve_job_def("repeated").execute_in_process(
        instance=instance, partition_key="toy", raise_on_error=False
    )
    assert "data.source.path" in done.failure_data_for_node("raw_dataset").user_failure_data.description
    assert done.retry_attempts_for_node("raw_dataset") == 0
