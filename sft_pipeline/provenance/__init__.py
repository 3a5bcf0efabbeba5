"""Hashing, the artifact store, and records of the environment and the code."""
