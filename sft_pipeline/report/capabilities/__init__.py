"""The page and the text of a capability report."""
