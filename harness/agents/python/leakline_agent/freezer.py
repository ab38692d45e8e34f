"""What is old, kept out of the collector's way: a sample then takes the time of what is new.

A collection and a census walk every object that the collector tracks, most of which a server made while it started.
The collector has one frozen generation a process, so what is known of it is one too; a forked child inherits both.
"""

import gc
import weakref

from leakline_agent import census
from leakline_agent.link import FROZEN_AT_START

_frozen = {"ours": False, "of interest": ()}


def is_ours():
    """Whether what there was is frozen, by the agent."""
    return _frozen["ours"]


def freeze():
    """Freeze what there is; False, and nothing done, where the SUT has frozen something itself."""
    if gc.get_freeze_count() > FROZEN_AT_START:
        return False
    of_interest = [thing for things in census.objects_by_type().values() for thing in things]
    _frozen.update({"ours": True, "of interest": tuple(map(weakref.ref, of_interest))})
    gc.freeze()
    return True


def thaw():
    """Undo `freeze`."""
    if _frozen["ours"]:
        gc.unfreeze()
        _frozen.update({"ours": False, "of interest": ()})


def of_interest():
    """Those of the frozen that are counted one by one, and live."""
    return [thing for known in _frozen["of interest"] if (thing := known()) is not None]
