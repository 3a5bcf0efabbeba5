"""A search over hyperparameters whose best are trained again and compared with the default on rows that it never saw."""
