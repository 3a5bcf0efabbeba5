"""Reading data sources: formats, layouts, conversations, and external inputs (test file, benchmarks)."""

from sft_pipeline.dataset.source.held_out import read_items
from sft_pipeline.dataset.source.items import MAX_ROW_CHARACTERS
from sft_pipeline.dataset.source.read import read, read_external, require_readable

__all__ = ["MAX_ROW_CHARACTERS", "read", "read_external", "read_items", "require_readable"]
