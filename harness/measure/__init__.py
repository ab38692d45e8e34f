"""Measures the server under test at quiet points, from inside (agents) and from outside. It judges nothing."""
