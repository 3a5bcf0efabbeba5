"""The quality filters; `active_filters` builds those that a specification asks for."""

from sft_pipeline.dataset.filters.base import Filter, Hit, Row
from sft_pipeline.dataset.filters.continuations import Continuations
from sft_pipeline.dataset.filters.registry import active_filters

__all__ = ["Continuations", "Filter", "Hit", "Row", "active_filters"]
