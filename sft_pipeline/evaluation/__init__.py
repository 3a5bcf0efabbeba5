"""Scorers, paired statistics, power and the gate."""
