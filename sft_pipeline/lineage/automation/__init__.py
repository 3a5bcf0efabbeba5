"""What runs without being asked: a schedule, sensors, the end of dead runs, and a notice of failures."""

from sft_pipeline.lineage.automation.build import build_schedules, build_sensors

__all__ = ["build_schedules", "build_sensors"]
