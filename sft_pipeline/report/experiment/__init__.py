"""The page of an experiment: its whole lineage on one sheet, and what it cost."""
