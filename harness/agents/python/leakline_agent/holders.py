"""What was made during a watch and still lives: counts by site, the memory each holds, the rest of the heap.

A leaked listener keeps a closure, the closure keeps the call's session, and so on: memory that is reached
from what leaked, through objects made during the watch alone, is charged to it. What is left is charged to
the lines that allocated it.
"""

import gc
import io
import os
import sys
import tempfile
import threading
import tracemalloc
import weakref
from collections import Counter

from leakline_agent import census, keepers
from leakline_agent.frames import allocation_stack, describe, described, has_user_frame, suspended

_FILE_TYPES = (io.FileIO, io.BufferedReader, io.BufferedWriter, io.BufferedRandom, io.TextIOWrapper)
_MANAGED_DICT = 1 << 4  # Py_TPFLAGS_MANAGED_DICT of CPython 3.11 and newer
_VALUES_HEAD = 16
_MOST_SITES = 40
_MOST_WAKERS = 5
_MOST_TYPES = 40
_MOST_VISITED = 2_000_000
_ORDER = ("tasks", "threads", "timers", "listeners", "sockets", "fds", "async_generators")


class Held:
    """What lives of what was made, and the memory that it holds: all that must be asked while memory is traced.

    `fresh` are the collector's objects made during the watch (or all, where that cannot be told), `young` their
    identities (or none).
    """

    def __init__(self, recorder, fresh, young):
        self.fresh = fresh
        self.young = young
        self.snapshot = tracemalloc.take_snapshot() if tracemalloc.is_tracing() else None
        self.taken = {}
        """{allocation stack: [count, bytes]} of what is held."""
        alive = _alive(recorder, fresh)
        self.groups = {name: _by_site(recorder.made[name], things) for name, things in alive.items()}
        self.groups["tasks"] = _by_waiting(self.groups["tasks"])
        self.groups["fds"] = _open_files(recorder, fresh) if young else {}
        self.groups["async_generators"] = _suspended_generators(young)
        self.sizes = {}
        """{resource: {stack: bytes}}."""
        claimed = set()
        for name in _ORDER:
            self.sizes[name] = {
                stack: _held_bytes(_roots(name, things), young, claimed, self.taken)
                if self.snapshot is not None
                else 0
                for stack, things in self.groups[name].items()
            }


def survey(recorder, held):
    """Survivors as JSON.

    {"resources": {name: [row]}, "heap": [{"count", "bytes", "stack"}]}, where a row is
    {"count", "stack", "held_bytes"} and a stack is as `frames.describe` gives it.
    """
    resources = {}
    for name in _ORDER:
        rows = []
        for stack, things in held.groups[name].items():
            # A file object and its buffers are several objects on one descriptor.
            number = len(things) if name != "fds" else len({thing.fileno() for thing in things})
            rows.append({"count": number, "stack": describe(stack), "held_bytes": held.sizes[name][stack]})
        resources[name] = _largest(rows, "count")
    resources["temp_files"] = _files_left(recorder)
    woke = [
        {"count": number, "stack": describe(stack), "held_bytes": 0}
        for stack, number in recorder.set_timers.most_common(_MOST_WAKERS)
    ]
    types = _types(held.fresh if held.young else ())
    return {"resources": resources, "heap": _heap_sites(held.snapshot, held.taken), "woke": woke, "types": types}


def _alive(recorder, fresh):
    by_type = census.objects_by_type()
    loops = census._event_loops_in(by_type)
    socket_type = sys.modules["socket"].socket if "socket" in sys.modules else ()
    noted = recorder.made["sockets"]
    sockets = [thing for thing in fresh if id(thing) in noted and _is_open(thing, socket_type)]
    return {
        "timers": census.live_timers(loops, by_type),
        "tasks": list(census.live_tasks(loops)),
        "threads": threading.enumerate(),
        "listeners": [handler for _, handler in census.live_listeners(by_type)],
        "sockets": sockets,
    }


def _is_open(thing, socket_type):
    """Whether a noted socket, or a transport of uvloop's, which has its socket in C, is still open."""
    if isinstance(thing, socket_type):
        return thing.fileno() != -1
    return type(thing).__module__ == "uvloop.loop" and not thing.is_closing()


def _by_site(notes, things):
    groups = {}
    for thing in things:
        stack = notes.get(id(thing))
        if stack is not None:
            groups.setdefault(stack, []).append(thing)
    return groups


def _by_waiting(groups):
    """Tasks that a library made, by where they wait: a handler that hangs is named by its own line."""
    found = {}
    for stack, tasks in groups.items():
        for task in tasks:
            place = stack if has_user_frame(stack) else (suspended(task.get_coro()) or stack)
            found.setdefault(place, []).append(task)
    return found


def _roots(resource, things):
    """What holds the memory of `things`: a thread's is on its stack, which the collector does not look at."""
    if resource != "threads":
        return things
    frames, roots = sys._current_frames(), list(things)
    for thread in things:
        frame = frames.get(thread.ident)
        while frame is not None:
            try:
                roots += frame.f_locals.values()
            except Exception:  # a class's body may have a mapping of the SUT's own
                pass
            frame = frame.f_back
    return roots


def _held_bytes(roots, young, claimed, taken):
    """Bytes reached from `roots` through objects made during the watch and not claimed before.

    `taken` collects {allocation traceback: [count, bytes]} of what was claimed.
    """
    total, stack = 0, list(roots)
    while stack and len(claimed) < _MOST_VISITED:
        thing = stack.pop()
        if id(thing) in claimed or isinstance(thing, type):
            continue
        # Python 3.11 cannot find the trace of an instance with a __dict__; the collector knows it, though.
        made_at = tracemalloc.get_object_traceback(thing)
        if made_at is None and id(thing) not in young:
            continue  # older than the watch: not what leaked
        claimed.add(id(thing))
        try:
            size = sys.getsizeof(thing)
        except Exception:
            continue
        referents = gc.get_referents(thing)
        if type(thing).__flags__ & _MANAGED_DICT and sys.version_info < (3, 13):
            size += _VALUES_HEAD + 8 * len(referents)  # the attributes' array, which getsizeof leaves out
        total += size
        if made_at is not None:
            entry = taken.setdefault(allocation_stack(made_at), [0, 0])
            entry[0] += 1
            entry[1] += size
        stack.extend(referents)
        stack.extend(weakref.getweakrefs(thing))  # they go when it goes: asyncio notes its tasks and generators so
    return total


def _heap_sites(snapshot, taken):
    """Allocation sites of what lives and was not claimed, largest first."""
    if snapshot is None:
        return []
    sites = {}
    for trace in snapshot.traces:
        place = allocation_stack(trace.traceback)
        if place is None:
            continue
        entry = sites.setdefault(place, [0, 0])
        entry[0] += 1
        entry[1] += trace.size
    rows = []
    for place, (number, size) in sites.items():
        held_number, held_size = taken.get(place, (0, 0))
        if size > held_size:
            rows.append(
                {
                    "count": max(1, number - held_number),
                    "bytes": size - held_size,
                    "stack": [described(frame) for frame in place],
                }
            )
    return _largest(rows, "bytes")


def _open_files(recorder, fresh):
    """{stack: [file objects]} of the files opened during the watch and still open."""
    groups = {}
    for thing in fresh:
        if type(thing) not in _FILE_TYPES:
            continue
        try:
            path = os.readlink(f"/proc/self/fd/{thing.fileno()}")
        except (OSError, ValueError):
            continue  # closed, or no file, or no /proc on this system
        stack = recorder.opened.get(path.removesuffix(" (deleted)"))
        if stack is not None:
            groups.setdefault(stack, []).append(thing)
    return groups


def _files_left(recorder):
    """Rows of the temporary files that were opened during the watch and are still there."""
    folder = os.path.abspath(tempfile.gettempdir()) + os.sep
    groups = Counter(
        stack for path, stack in recorder.opened.items() if path.startswith(folder) and os.path.exists(path)
    )
    rows = [{"count": number, "stack": describe(stack), "held_bytes": 0} for stack, number in groups.items()]
    return _largest(rows, "count")


def _suspended_generators(young):
    """{where it waits: [async generators]} of those made during the watch."""
    groups = {}
    for generator in census.live_async_generators(census.objects_by_type()):
        if id(generator) in young:
            frame = generator.ag_frame
            groups.setdefault(((frame.f_code, frame.f_lasti),), []).append(generator)
    return groups


def _types(fresh):
    """[{"type", "count"}] of what was made during the watch and lives, the most first."""
    counts = Counter(map(type, fresh))
    return [{"type": keepers.class_name(kind), "count": number} for kind, number in counts.most_common(_MOST_TYPES)]


def _largest(rows, key):
    return sorted(rows, key=lambda row: row[key], reverse=True)[:_MOST_SITES]
