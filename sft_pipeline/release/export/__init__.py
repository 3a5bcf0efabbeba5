"""Exports of a gated adapter: written, answered by their own engine, and judged against the adapter item by item."""
