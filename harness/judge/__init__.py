"""Samples in, outcome out: growth, levels, budgets, and the one rule for the outcome. Pure but for `Alerts`."""
