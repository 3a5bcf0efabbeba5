"""How steps run: each in its own process, at most one with the model at a time.

A step's own process means that the memory of its device is free when it ends. Processes are forked from a server that
has the code location loaded already: a spawned one would spend seconds on importing it.
"""

import dagster as dg

from sft_pipeline.lineage.tags import CUDA


def step_executor() -> dg.ExecutorDefinition:
    """Dagster's multiprocess executor, configured."""
    ((key, value),) = CUDA.items()
    return dg.multiprocess_executor.configured(
        {
            "max_concurrent": 2,
            "tag_concurrency_limits": [{"key": key, "value": value, "limit": 1}],
            "start_method": {"forkserver": {"preload_modules": ["sft_pipeline.definitions"]}},
        }
    )
