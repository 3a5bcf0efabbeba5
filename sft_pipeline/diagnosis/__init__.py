"""Was a training healthy? The training log and the rules that read it."""
