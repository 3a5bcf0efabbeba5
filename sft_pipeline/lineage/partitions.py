"""One partition per experiment: every YAML file under specs/ is one, and its name is the key."""

from pathlib import Path

import dagster as dg

from sft_pipeline.specification import experiment_names


def experiments(root: Path) -> dg.StaticPartitionsDefinition:
    """The experiments that are there when the code location is loaded."""
    return dg.StaticPartitionsDefinition(experiment_names(root))
