"""Counts what is alive: one pass over the collector's objects, bucketed by exact type."""

import gc
import sys
import threading
import time
import tracemalloc
import warnings
import weakref
from types import AsyncGeneratorType

from leakline_agent import heap

_MOST_COLLECTIONS = 3
_HELD_S, _LET_OTHERS_S = 0.5, 0.001
_MOST_LISTENERS = 10
_MOST_CROWDED = 5
_known_loops = weakref.WeakSet()


def objects():
    """What the collector tracks, but for tuples.

    `gc.get_objects` gives out tuples that another thread has not finished: CPython resizes them in place, and raises
    SystemError in that thread where anybody else has one. So no other thread runs until they are let go of: whoever
    waits for the interpreter asks for it after the switch interval, the one that held when the wait began.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(_HELD_S)
    try:
        time.sleep(_LET_OTHERS_S)  # who waits already may ask at once: let that pass
        return [thing for thing in gc.get_objects() if type(thing) is not tuple]
    finally:
        sys.setswitchinterval(before)


def _number_of_objects():
    return gc.get_freeze_count() + sum(map(len, map(gc.get_objects, (None,))))  # one call into C, for the same reason


def settle():
    """Bring the heap to rest: drop cancelled timers and cached attribute names, and collect."""
    for loop in event_loops():
        prune_cancelled(loop)
    # CPython's type cache keeps the names of up to 4,096 attribute look-ups alive. C code that makes a new
    # string for each look-up (re.finditer, datetime.timetuple) fills it by some 50 bytes a time: no leak.
    clear_type_cache = getattr(sys, "_clear_type_cache", None)
    if clear_type_cache is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            clear_type_cache()
    for _ in range(_MOST_COLLECTIONS):
        if gc.collect() == 0:
            break


def count(frozen=()):
    """The counters of this process, as `Commands.sample` has them; `frozen` is what the collector does not show."""
    resources = {}
    in_use = heap.in_use()
    if in_use is None and tracemalloc.is_tracing():
        in_use = tracemalloc.get_traced_memory()[0]
    if in_use is not None:
        resources["heap"] = in_use
    by_type = objects_by_type()
    for thing in frozen:
        by_type.setdefault(type(thing), []).append(thing)
    resources["objects"] = _number_of_objects()
    loops = _event_loops_in(by_type)
    resources["timers"] = len(live_timers(loops, by_type))
    resources["tasks"] = sum(1 for _ in live_tasks(loops))
    resources["listeners"] = sum(1 for _ in live_listeners(by_type))
    resources["async_generators"] = sum(1 for _ in live_async_generators(by_type))
    resources["garbage"] = len(gc.garbage)
    return {"resources": resources, "crowded": crowded(by_type)}


def peek():
    """The counters that cost nothing to read, without a collection: to see if anything moves."""
    loops = _open_loops()
    resources = {"tasks": sum(1 for _ in live_tasks(loops))}
    if all(hasattr(loop, "_scheduled") for loop in loops):  # a stock loop's timers are a list; uvloop's are not
        resources["timers"] = len(live_timers(loops, {}))
    return {"resources": resources}


def objects_by_type():
    """{exact type: [objects]} of the types of interest among all objects that the collector tracks."""
    bases, wanted, by_type = _bases(), {}, {}
    for thing in objects():
        kind = type(thing)
        interesting = wanted.get(kind)
        if interesting is None:
            interesting = wanted[kind] = _is_interesting(kind, bases)
        if interesting:
            by_type.setdefault(kind, []).append(thing)
    return by_type


def _is_interesting(kind, bases):
    try:
        return issubclass(kind, bases)
    except Exception:  # a metaclass of the SUT's may do anything
        return False


def _bases():
    """The classes whose instances are counted, of the modules that the SUT has imported."""
    bases = [AsyncGeneratorType]
    for module, names in (
        ("asyncio.base_events", ("BaseEventLoop",)),
        ("uvloop", ("Loop",)),
        ("uvloop.loop", ("TimerHandle",)),
        ("pyee.base", ("EventEmitter",)),
        ("blinker.base", ("Signal",)),
    ):
        loaded = sys.modules.get(module)
        for name in names if loaded is not None else ():
            found = loaded.__dict__.get(name)
            if isinstance(found, type):
                bases.append(found)
    return tuple(bases)


def event_loops():
    """The event loops known to be open; looks for them when none is known."""
    if "asyncio" not in sys.modules:
        return []
    return _open_loops() or _event_loops_in(objects_by_type())


def _event_loops_in(by_type):
    """The open event loops: those among these objects, and those met before (`gc.freeze` hides objects)."""
    events = sys.modules.get("asyncio.events")
    if events is None:
        return []
    for kind, loops in by_type.items():
        if issubclass(kind, events.AbstractEventLoop):
            _known_loops.update(loops)
    return _open_loops()


def _open_loops():
    return [loop for loop in list(_known_loops) if not loop.is_closed()]


def prune_cancelled(loop):
    """Drop cancelled timers, as asyncio itself does once they are over half of its heap."""
    scheduled = getattr(loop, "_scheduled", None)
    if not isinstance(scheduled, list) or not any(handle._cancelled for handle in scheduled):
        return
    import heapq

    kept = []
    for handle in scheduled:
        if handle._cancelled:
            handle._scheduled = False
        else:
            kept.append(handle)
    heapq.heapify(kept)
    loop._scheduled = kept
    loop._timer_cancelled_count = 0


def live_timers(loops, by_type):
    """The timer handles that are scheduled and not cancelled."""
    found = []
    for loop in loops:
        found += [h for h in list(getattr(loop, "_scheduled", ())) if not h._cancelled]
    found += [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    for kind, handles in by_type.items():
        if kind.__name__ == "TimerHandle":  # uvloop's: a stock loop's are not of interest as objects
            found += [h for h in handles if not h.cancelled()]
    return found


def live_tasks(loops):
    """The tasks of `loops` that are not done."""
    for loop in loops:
        yield from sys.modules["asyncio"].all_tasks(loop)


def live_async_generators(by_type):
    """The async generators that have begun and not ended."""
    for generator in by_type.get(AsyncGeneratorType, ()):
        if generator.ag_frame is not None and generator.ag_frame.f_lasti > 0:
            yield generator


def live_listeners(by_type):
    """(event name, handler) of every handler registered with a pyee emitter or a blinker signal."""
    signals = sys.modules.get("blinker.base")
    signal = signals.__dict__.get("Signal") if signals is not None else None
    for kind, instances in by_type.items() if isinstance(signal, type) else ():
        if issubclass(kind, signal):
            for instance in instances:
                attributes = object.__getattribute__(instance, "__dict__")
                receivers = attributes.get("receivers")
                for receiver in list(receivers.values()) if isinstance(receivers, dict) else ():
                    yield attributes.get("name"), receiver() if isinstance(receiver, weakref.ref) else receiver
    for _, event, handlers in _registered(by_type):
        for handler in handlers:
            yield event, handler


def crowded(by_type):
    """Events of pyee emitters with more handlers than Node would warn of (pyee has no such limit), the most first.

    As [{"emitter", "event", "count", "most"}].
    """
    found = [
        {
            "emitter": type(emitter).__name__,
            "event": event[:80] if type(event) is str else "",
            "count": len(handlers),
        }
        for emitter, event, handlers in _registered(by_type)
        if len(handlers) > _MOST_LISTENERS
    ]
    found.sort(key=lambda row: row["count"], reverse=True)
    return [{**row, "most": _MOST_LISTENERS} for row in found[:_MOST_CROWDED]]


def _registered(by_type):
    """(emitter, event name, its handlers) of every event of every pyee emitter."""
    emitters = sys.modules.get("pyee.base")
    base = emitters.__dict__.get("EventEmitter") if emitters is not None else None
    if base is None:
        return
    for kind, instances in by_type.items():
        if not issubclass(kind, base):
            continue
        for emitter in instances:
            events = object.__getattribute__(emitter, "__dict__").get("_events")
            for event, handlers in list(events.items()) if isinstance(events, dict) else ():
                yield emitter, event, list(handlers)
