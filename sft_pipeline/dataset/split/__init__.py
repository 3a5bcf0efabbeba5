"""Train, dev and test: `assignment.py` decides who stands where, `stage.py` makes the three datasets."""

from sft_pipeline.dataset.split.split import split

__all__ = ["split"]
