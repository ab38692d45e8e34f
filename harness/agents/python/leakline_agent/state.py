"""State of the process that several of the agent's modules share. It imports none of them."""

import _thread
import gc

importing = _thread.allocate_lock()
"""Lock held while the agent imports modules, and taken before a fork (channel.py).

A child forked in the middle of an import would wait forever for the import lock, whose owner it does not have.
"""

FROZEN_AT_START = gc.get_freeze_count()
"""Objects in the collector's frozen generation before the SUT has run: CPython 3.12 starts with a few hundred."""
