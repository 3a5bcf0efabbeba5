"""From raw rows to clean ones, with the figures and the report; `stage.py` is the course of it."""

from sft_pipeline.dataset.cleaning.clean import clean

__all__ = ["clean"]
