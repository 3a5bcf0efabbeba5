"""Before any GPU is spent: steps, coverage, learning rates, memory, headroom and power."""
