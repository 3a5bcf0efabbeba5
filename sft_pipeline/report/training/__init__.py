"""Plots and tables of a training."""
