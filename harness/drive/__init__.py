"""Calls to the server under test: one, a batch, and how fast. Judges nothing."""
