"""What test items and training rows share: the proof, and the rows that a specification does not tolerate.

`proof.py` counts and shows, `removals.py` decides which rows have to go, `semantic.py` compares meanings.
"""

from sft_pipeline.dataset.leakage.batch import COMPARED
from sft_pipeline.dataset.leakage.proof import PROOF, prove, write

__all__ = ["COMPARED", "PROOF", "prove", "write"]
