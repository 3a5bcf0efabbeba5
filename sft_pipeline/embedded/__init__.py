"""The embedded world: its facts, the plain text that the tiny base learns from, and instruction data over it."""
