"""A checkpoint series needs what the engines' tests need."""

from sft_pipeline_tests.generation.conftest import (  # noqa: F401 - fixtures
    adapter,
    adapters,
    ending_base,
    experiment,
    items,
)
