"""Says what a run found: reads the harness's data, measures nothing."""
