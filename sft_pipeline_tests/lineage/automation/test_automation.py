"""What automation declares: off where it could spend device time, and a gate that may not grow old."""

from datetime import timedelta

import dagster as dg

from sft_pipeline.definitions import build_defs


def test_whatever_could_spend_device_time_is_stopped_until_somebody_switches_it_on(monkeypatch):
    monkeypatch.setenv("SFT_PIPELINE_WEBHOOK", "https://hooks.example/x")
    repository = build_defs().get_repository_def()
    running = {s.name for s in repository.sensor_defs if s.default_status == dg.DefaultSensorStatus.RUNNING}
    assert (
        running == {"notify_failures", "end_dead_runs", "observe_specifications"} and len(repository.sensor_defs) == 6
    )
    assert [s.default_status for s in repository.schedule_defs] == [dg.DefaultScheduleStatus.STOPPED]


def test_the_gate_alone_has_a_freshness_policy_and_nothing_runs_because_of_it():
    graph = build_defs().resolve_asset_graph()
    policies = {key.path[-1]: graph.get(key).freshness_policy for key in graph.materializable_asset_keys}
    policy = policies.pop("gate_report")
    assert policy.fail_window.to_timedelta() == timedelta(days=15)
    assert set(policies.values()) == {None}
    assert all(graph.get(key).automation_condition is None for key in graph.materializable_asset_keys)
