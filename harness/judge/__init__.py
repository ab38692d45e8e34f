"""Samples in, verdict out: growth, levels, budgets, and the one rule for the outcome. Pure functions."""
