"""Plan, data collation and masking, trainer, callbacks, diagnosis."""
