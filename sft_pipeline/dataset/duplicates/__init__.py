"""Which rows are the same: MinHash proposes, the exact Jaccard similarity of word shingles decides.

`search.py` answers the questions; texts become sets of hashes in `shingles.py`, candidates come from `minhash.py` and, in
crowded buckets, from `prefix.py`, and what belongs together is kept in `union_find.py`.
"""

from sft_pipeline.dataset.duplicates.search import components, copies, near_pairs

__all__ = ["components", "copies", "near_pairs"]
