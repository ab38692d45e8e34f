"""Freezes the objects that exist (`gc.freeze`), so that a sample takes time for the newer ones only.

A collection and a census walk every object that the collector tracks, and a server makes most of those while it
starts. A process has one frozen generation, so this module's state is global too; a forked child inherits both.
"""

import gc
import weakref

from leakline_agent import census
from leakline_agent.state import FROZEN_AT_START

_frozen = None
"""Weak references to the frozen objects that a census counts one by one; None while the agent has frozen nothing."""


def is_ours():
    """Whether the agent has frozen objects."""
    return _frozen is not None


def freeze():
    """Freeze all objects that exist, and return True; does nothing and returns False if the SUT froze some itself."""
    global _frozen
    if gc.get_freeze_count() > FROZEN_AT_START:
        return False
    _frozen = tuple(weakref.ref(thing) for things in census.objects_by_type().values() for thing in things)
    gc.freeze()
    return True


def thaw():
    """Undo `freeze`."""
    global _frozen
    if is_ours():
        gc.unfreeze()
        _frozen = None


def of_interest():
    """The frozen objects that a census counts one by one and that are still alive."""
    return [thing for reference in _frozen or () if (thing := reference()) is not None]
