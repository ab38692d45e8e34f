"""Probes: each reads some of the resources of a SUT at a quiet point."""
