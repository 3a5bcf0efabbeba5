"""Engines: what lets a loaded base model, with or without an adapter, answer prompts."""

from sft_pipeline.generation.engines.engine import Engine
from sft_pipeline.generation.engines.selection import chosen, engine_versions, inference_settings, open_engine

__all__ = ["Engine", "chosen", "engine_versions", "inference_settings", "open_engine"]
