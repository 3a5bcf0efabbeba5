"""Engines, decoding and the checkpoint series."""
