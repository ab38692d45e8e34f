"""Presents the result of a run to people and CI systems: reads the harness's data, measures nothing."""
