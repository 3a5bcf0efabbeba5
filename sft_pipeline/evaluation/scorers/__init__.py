"""One file per scorer: `score(item, output, options)` judges one answer.

A scorer that has options names them in `OPTIONS`; which scorer judges which type of item is the specification's matter.
"""

from sft_pipeline.evaluation.scorers.item import Item, Score

__all__ = ["Item", "Score"]
