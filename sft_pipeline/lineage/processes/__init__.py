"""Mechanics of the processes in which runs and steps live: devices, orphans, dead runs."""
