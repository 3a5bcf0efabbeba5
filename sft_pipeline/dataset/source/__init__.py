"""Reading what people bring: formats, layouts, conversations, the test file and the benchmarks beside the data."""

from sft_pipeline.dataset.source.held_out import read_items
from sft_pipeline.dataset.source.items import MAX_ROW_CHARACTERS
from sft_pipeline.dataset.source.read import read, read_beside, require_readable

__all__ = ["MAX_ROW_CHARACTERS", "read", "read_beside", "read_items", "require_readable"]
