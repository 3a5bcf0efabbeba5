"""Paired tests, clusters, power, agreement. No formula here knows of a file."""
