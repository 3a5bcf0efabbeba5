"""The quality filters, one small unit each; `judges` assembles those that a specification asks for."""

from sft_pipeline.dataset.filters.base import Hit, Judge, Row
from sft_pipeline.dataset.filters.continuations import Continuations
from sft_pipeline.dataset.filters.registry import judges

__all__ = ["Continuations", "Hit", "Judge", "Row", "judges"]
