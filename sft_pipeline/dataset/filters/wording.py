"""The filters that judge a row by its wording alone, in the order in which its faults are named."""

from sft_pipeline.dataset.filters.continuations import Continuations
from sft_pipeline.dataset.filters.markers import delimiter, runaway
from sft_pipeline.dataset.filters.placeholder import empty, placeholder
from sft_pipeline.dataset.filters.repetition import repeats_instruction, repetition
from sft_pipeline.dataset.filters.scope import scope
from sft_pipeline.dataset.filters.truncation import truncated

__all__ = ["FILTERS", "Continuations"]

FILTERS = (empty, placeholder, delimiter, runaway, repetition, repeats_instruction, truncated, scope)
