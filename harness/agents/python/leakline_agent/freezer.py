"""What is old, kept out of the collector's way: a sample then takes the time of what is new.

A collection and a census walk every object that the collector tracks, most of which a server made while it started.
The collector has one frozen generation a process, so what is known of it is one too; a forked child inherits both.
"""

import gc
import weakref

from leakline_agent import census
from leakline_agent.state import FROZEN_AT_START

_known = None
"""Weak references to those of the frozen that are counted one by one; None while the agent has frozen nothing."""


def is_ours():
    """Whether what there was is frozen, by the agent."""
    return _known is not None


def freeze():
    """Freeze what there is; False, and nothing done, where the SUT has frozen something itself."""
    global _known
    if gc.get_freeze_count() > FROZEN_AT_START:
        return False
    _known = tuple(weakref.ref(thing) for things in census.objects_by_type().values() for thing in things)
    gc.freeze()
    return True


def thaw():
    """Undo `freeze`."""
    global _known
    if is_ours():
        gc.unfreeze()
        _known = None


def of_interest():
    """Those of the frozen that are counted one by one, and live."""
    return [thing for known in _known or () if (thing := known()) is not None]
