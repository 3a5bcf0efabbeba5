"""One partition per experiment: every YAML file under specs/ is one, and its name is the key."""

import logging
from pathlib import Path

import dagster as dg

from sft_pipeline.specification import specifications

log = logging.getLogger(__name__)


def experiments(root: Path) -> dg.StaticPartitionsDefinition:
    """The experiments that are there when the code location is loaded.

    A file whose name cannot be a partition key is left out with a warning: every step loads the code location, and
    one such file would stop the runs of all other experiments.
    """
    names, problems = specifications(root)
    for problem in problems:
        log.warning(problem)
    return dg.StaticPartitionsDefinition(names)
