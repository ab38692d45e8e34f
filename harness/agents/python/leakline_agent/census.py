"""Counts the living resources of the process, in one pass over the objects that the garbage collector tracks."""

import gc
import sys
import threading
import time
import tracemalloc
import warnings
import weakref
from types import AsyncGeneratorType

from leakline_agent import heap

_MAX_COLLECTIONS = 3
_SWITCH_INTERVAL_S, _YIELD_S = 0.5, 0.001
"""Used by `objects`: how long no other thread gets the GIL, and how long it is offered to others before."""
_LISTENER_LIMIT = 10
"""Handlers of one event from which on Node warns of a leak (`EventEmitter.defaultMaxListeners`)."""
_MAX_EXCESSES = 5
_known_loops = weakref.WeakSet()
"""Event loops that a census has found; `gc.freeze` hides them from the next one."""


def objects():
    """All objects that the collector tracks, without tuples.

    `gc.get_objects` also returns tuples that another thread is still building. CPython resizes such a tuple in place,
    and raises SystemError in that thread if anything else holds a reference to it. So no other thread may run until
    the references to tuples are dropped: the switch interval, after which a waiting thread asks for the GIL, is
    raised meanwhile.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    try:
        time.sleep(_YIELD_S)  # threads that wait already do so with the old, short interval: let them run first
        return [thing for thing in gc.get_objects() if type(thing) is not tuple]
    finally:
        sys.setswitchinterval(before)


def _number_of_objects():
    # The lists of objects stay inside one call into C: Python code never has a reference to a tuple (see `objects`).
    return gc.get_freeze_count() + sum(map(len, map(gc.get_objects, (None,))))


def collect_garbage():
    """Free what is garbage: cancelled timers, CPython's cache of attribute names, and unreachable objects."""
    for loop in event_loops():
        prune_cancelled(loop)
    # CPython's type cache keeps the names of up to 4,096 attribute look-ups alive. C code that makes a new string for
    # each look-up (re.finditer, datetime.timetuple) adds some 50 bytes each time, until it is full: not a leak.
    clear_type_cache = getattr(sys, "_clear_type_cache", None)
    if clear_type_cache is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            clear_type_cache()
    for _ in range(_MAX_COLLECTIONS):
        if gc.collect() == 0:
            break


def count(frozen=()):
    """The counters of this process, as `Commands.sample` returns them.

    `frozen` are the frozen objects to count (`freezer.of_interest`), which `gc.get_objects` does not return.
    """
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
    return {"resources": resources, "listener_excess": listener_excess(by_type)}


def read_cheap():
    """The counters that can be read without a collection or a census: to see whether the process is quiet."""
    loops = _open_loops()
    resources = {"tasks": sum(1 for _ in live_tasks(loops))}
    if all(hasattr(loop, "_scheduled") for loop in loops):  # asyncio's have a list of timers, uvloop's do not
        resources["timers"] = len(live_timers(loops, {}))
    return {"resources": resources}


def objects_by_type():
    """{exact type: [objects]} of the types that a census counts, among all objects that the collector tracks."""
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
    except Exception:  # a metaclass of the SUT's can define __subclasscheck__
        return False


def _bases():
    """The classes whose instances, subclasses' too, are counted; only of modules that the SUT has imported."""
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
    """The open event loops; looks for them among all objects when none is known."""
    if "asyncio" not in sys.modules:
        return []
    return _open_loops() or _event_loops_in(objects_by_type())


def _event_loops_in(by_type):
    """The open event loops: those among these objects and those found before."""
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
    """Drop the cancelled timers of an asyncio loop, as `BaseEventLoop._run_once` does itself when they are many."""
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
    """The timers that are set: timer handles scheduled and not cancelled, and running `threading.Timer`s."""
    found = []
    for loop in loops:
        found += [h for h in list(getattr(loop, "_scheduled", ())) if not h._cancelled]
    found += [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    for kind, handles in by_type.items():
        if kind.__name__ == "TimerHandle":  # uvloop's: by_type has no handles of asyncio's
            found += [h for h in handles if not h.cancelled()]
    return found


def live_tasks(loops):
    """The tasks of `loops` that are not done."""
    for loop in loops:
        yield from sys.modules["asyncio"].all_tasks(loop)


def live_async_generators(by_type):
    """The async generators that have been started and have not ended."""
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


def listener_excess(by_type):
    """[{"emitter": class, "event", "count", "limit"}]: pyee events with too many handlers, the most first.

    pyee has no limit of its own, so the limit is Node's default.
    """
    found = [
        {
            "emitter": type(emitter).__name__,
            "event": event[:80] if type(event) is str else "",
            "count": len(handlers),
        }
        for emitter, event, handlers in _registered(by_type)
        if len(handlers) > _LISTENER_LIMIT
    ]
    found.sort(key=lambda row: row["count"], reverse=True)
    return [{**row, "limit": _LISTENER_LIMIT} for row in found[:_MAX_EXCESSES]]


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
