"""The toy experiment of the training's tests."""

from sft_pipeline_tests.training.conftest import dataset, guard, prepared, rows, toy, toy_base  # noqa: F401 - fixtures
