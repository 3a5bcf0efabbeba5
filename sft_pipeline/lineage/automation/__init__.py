"""What runs without being asked: a schedule, sensors, the end of dead runs, a notice of failures, and a gate's age."""

from sft_pipeline.lineage.automation.build import build_schedules, build_sensors
from sft_pipeline.lineage.automation.freshness import with_freshness

__all__ = ["build_schedules", "build_sensors", "with_freshness"]
