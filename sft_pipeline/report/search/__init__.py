"""The page and the text of a search report."""
