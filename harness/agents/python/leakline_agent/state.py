"""What the agent's modules share of the process that they are in; it imports none of them."""

import _thread
import gc

importing = _thread.allocate_lock()
"""Held while the agent imports: a child forked meanwhile would wait for a half-imported module, for good."""

FROZEN_AT_START = gc.get_freeze_count()
"""What is frozen for the collector before the SUT has run: CPython 3.12 begins with some hundred objects."""
