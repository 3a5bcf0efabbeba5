"""Tags of steps and assets; nothing else, and no import: everything in `lineage/` may use it.

Op tags reach the step: an executor reads them to limit how many steps of a kind run at once, or to ask Kubernetes for a
GPU. See https://docs.dagster.io/guides/operate/managing-concurrency.
"""

DEVICE = "sft_pipeline/device"
"""Key of the tag that says which device a step needs."""

CUDA = {DEVICE: "cuda"}
"""Op tags of a step that loads the model: one at a time for each GPU. A specification may still declare the CPU."""

RECOMPUTE = "sft_pipeline/recompute"
"""Run tag: with the value `true` a step does its work again even where nothing that it depends on has changed."""

DATA, MODEL, TRAINING, EVALUATION = "data", "model", "training", "evaluation"
"""Asset groups, in the order in which data flows."""
