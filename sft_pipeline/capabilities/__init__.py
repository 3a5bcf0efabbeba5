"""Benchmarks of a model before and after fine-tuning: the harness asks and scores, the engines answer, paired statistics decide."""
