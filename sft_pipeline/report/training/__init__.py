"""Pictures and tables of a training."""
