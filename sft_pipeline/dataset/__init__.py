"""From a raw source to splits that do not leak: read, filter, deduplicate, split, prove.

Each file decides one thing; none knows of Dagster or of a model.
"""
