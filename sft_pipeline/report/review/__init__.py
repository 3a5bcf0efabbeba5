"""The page that a rater fills in, and the summary of a review."""
