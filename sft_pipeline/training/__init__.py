"""Fine-tuning: tokenization and masking, TRL's trainer, checkpoints, callbacks, the adapter's manifest."""
