"""sft_pipeline: supervised fine-tuning from a base model as a lineage that can be trusted."""

import os

__version__ = "0.1.0"

# OpenMP threads that spin while they wait starve each other as soon as two processes share the cores: a training step
# then takes up to ten times as long. It has to be said before torch is loaded, hence here.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
