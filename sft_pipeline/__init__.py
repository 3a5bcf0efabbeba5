"""sft_pipeline: supervised fine-tuning from a base model as a lineage that can be trusted."""

__version__ = "0.1.0"
