"""The page of the mask audit."""
