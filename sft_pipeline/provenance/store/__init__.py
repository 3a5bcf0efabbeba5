"""The content-addressed store: immutable objects, and a pointer for each asset of each experiment."""

from sft_pipeline.provenance.store.location import default_store
from sft_pipeline.provenance.store.pointer import Pointer, Version
from sft_pipeline.provenance.store.store import Store

__all__ = ["Pointer", "Store", "Version", "default_store"]
