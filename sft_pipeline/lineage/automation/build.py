"""What runs without being asked: a schedule, sensors, the end of dead runs, and a notice of failures.

Everything that could spend device time is off until it is switched on in the UI, and asks for nothing that was asked for
already, by the content that it is about. See docs/how-to/automation.md. Concepts:
https://docs.dagster.io/guides/automate
"""

import dagster as dg

from sft_pipeline.lineage.automation import (
    data_sensor,
    dead_runs_sensor,
    evaluation_schedule,
    evaluation_sensor,
    failure_sensor,
    observation_sensor,
    specification_sensor,
)


def build_schedules() -> list[dg.ScheduleDefinition]:
    """All schedules."""
    return [evaluation_schedule.build()]


def build_sensors(partitions: dg.StaticPartitionsDefinition) -> list[dg.SensorDefinition]:
    """All sensors; `partitions` are the experiments that the code location knows."""
    return [
        evaluation_sensor.build(),
        specification_sensor.build(list(partitions.get_partition_keys())),
        data_sensor.build(),
        dead_runs_sensor.build(),
        failure_sensor.build(),
        observation_sensor.build(),
    ]
