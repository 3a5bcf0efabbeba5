"""One file per scorer: `score(item, output, options)` judges one answer.

`OPTIONS` and `REFERENCE` say what a scorer's options and the fields of an item's reference mean: the reference page of the docs
is made from them. `VERIFIER` says whether it checks against a ground truth. Which scorer judges which type of item is declared
in the specification.
"""

from sft_pipeline.evaluation.scorers.item import Item, Score

__all__ = ["Item", "Score"]
