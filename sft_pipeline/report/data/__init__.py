"""The page of a clean dataset."""
