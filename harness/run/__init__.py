"""Puts the rooms together: a soak, a load run, a monitor, a check in the test's own process."""
