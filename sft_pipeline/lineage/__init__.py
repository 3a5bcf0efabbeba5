"""Everything that imports dagster: assets, checks, IO managers, executor."""
