"""The assets, one file per group, in the order in which data flows. Importing one enters its assets into the table."""
