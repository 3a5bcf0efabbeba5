"""Human review: which pairs people see, the pages, what comes back, and what it says of models and raters."""
