"""Survivors: what was created in a trace window and is alive, by allocation site, with the memory that it retains.

A leaked listener retains a closure, which retains the call's session, and so on. Memory that is reached from a leaked
resource, through objects created in the window only, is charged to that resource; the other memory that was allocated
in the window is charged to the lines that allocated it.
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

from leakline_agent import census, retainers
from leakline_agent.frames import allocation_stack, describe, described, has_user_frame, suspended

_FILE_TYPES = (io.FileIO, io.BufferedReader, io.BufferedWriter, io.BufferedRandom, io.TextIOWrapper)
_MANAGED_DICT = 1 << 4  # Py_TPFLAGS_MANAGED_DICT of CPython 3.11 and newer
_VALUES_HEAD = 16
"""Bytes before the attributes in the array of an instance's values (CPython 3.11 and 3.12)."""
_MAX_SITES = 40
_MAX_TIMER_SITES = 5
_MAX_TYPES = 40
_MAX_VISITED = 2_000_000
"""Objects that are charged to resources; memory beyond them is charged to its allocation sites."""
_ORDER = ("tasks", "threads", "timers", "listeners", "sockets", "fds", "async_generators")
"""Memory that two resources reach is charged to the first of them."""


class Survivors:
    """The living resources created in the window, and the memory they retain. Made while memory is still traced.

    `new_objects` are the tracked objects created in the window, `new_ids` their identities. Where the SUT has frozen
    objects itself, the newer ones are not known: then `new_objects` are all, and `new_ids` is empty.
    """

    def __init__(self, recorder, new_objects, new_ids):
        self.new_objects = new_objects
        self.new_ids = new_ids
        self.snapshot = tracemalloc.take_snapshot() if tracemalloc.is_tracing() else None
        self.charged = {}
        """{allocation stack: [count, bytes]} of the memory that is charged to a resource."""
        alive = _alive(recorder, new_objects)
        self.groups = {name: _by_site(recorder.made[name], things) for name, things in alive.items()}
        self.groups["tasks"] = _by_waiting(self.groups["tasks"])
        self.groups["fds"] = _open_files(recorder, new_objects) if new_ids else {}
        self.groups["async_generators"] = _suspended_generators(new_ids)
        self.sizes = {}
        """{resource: {stack: bytes retained}}."""
        claimed = set()
        for name in _ORDER:
            self.sizes[name] = {
                stack: _retained_bytes(_roots(name, things), new_ids, claimed, self.charged)
                if self.snapshot is not None
                else 0
                for stack, things in self.groups[name].items()
            }


def survey(recorder, survivors):
    """The survivors as JSON; a stack is as `frames.describe` gives it.

    {"resources": {name: [{"count", "stack", "retained_bytes"}]}, "heap": [{"count", "bytes", "stack"}] of the memory
    that is charged to no resource, "timers_set": rows as in resources of where most timers were set,
    "types": [{"type", "count"}]}.
    """
    resources = {}
    for name in _ORDER:
        rows = []
        for stack, things in survivors.groups[name].items():
            # A file object and its buffers are several objects with one descriptor.
            number = len(things) if name != "fds" else len({thing.fileno() for thing in things})
            rows.append({"count": number, "stack": describe(stack), "retained_bytes": survivors.sizes[name][stack]})
        resources[name] = _largest(rows, "count")
    resources["temp_files"] = _files_left(recorder)
    timers_set = [
        {"count": number, "stack": describe(stack), "retained_bytes": 0}
        for stack, number in recorder.set_timers.most_common(_MAX_TIMER_SITES)
    ]
    types = _types(survivors.new_objects if survivors.new_ids else ())
    return {
        "resources": resources,
        "heap": _heap_sites(survivors.snapshot, survivors.charged),
        "timers_set": timers_set,
        "types": types,
    }


def _alive(recorder, new_objects):
    by_type = census.objects_by_type()
    loops = census._event_loops_in(by_type)
    socket_type = sys.modules["socket"].socket if "socket" in sys.modules else ()
    recorded = recorder.made["sockets"]
    sockets = [thing for thing in new_objects if id(thing) in recorded and _is_open(thing, socket_type)]
    return {
        "timers": census.live_timers(loops, by_type),
        "tasks": list(census.live_tasks(loops)),
        "threads": threading.enumerate(),
        "listeners": [handler for _, handler in census.live_listeners(by_type)],
        "sockets": sockets,
    }


def _is_open(thing, socket_type):
    """Whether a recorded socket is open; of uvloop, whose sockets are in C, transports are recorded."""
    if isinstance(thing, socket_type):
        return thing.fileno() != -1
    return type(thing).__module__ == "uvloop.loop" and not thing.is_closing()


def _by_site(stacks, things):
    groups = {}
    for thing in things:
        stack = stacks.get(id(thing))
        if stack is not None:
            groups.setdefault(stack, []).append(thing)
    return groups


def _by_waiting(groups):
    """Group tasks that a library created by where they wait: so a handler that hangs is named by the user's line."""
    found = {}
    for stack, tasks in groups.items():
        for task in tasks:
            site = stack if has_user_frame(stack) else (suspended(task.get_coro()) or stack)
            found.setdefault(site, []).append(task)
    return found


def _roots(resource, things):
    """`things`, and for threads the local variables on their stacks, which are no referents of the thread object."""
    if resource != "threads":
        return things
    frames, roots = sys._current_frames(), list(things)
    for thread in things:
        frame = frames.get(thread.ident)
        while frame is not None:
            try:
                roots += frame.f_locals.values()
            except Exception:  # a class body's locals may be a mapping of the SUT's own (__prepare__)
                pass
            frame = frame.f_back
    return roots


def _retained_bytes(roots, new_ids, claimed, charged):
    """Bytes reached from `roots` through objects created in the window that are not in `claimed`.

    Adds their identities to `claimed`, and to `charged` their {allocation stack: [count, bytes]}.
    """
    total, stack = 0, list(roots)
    while stack and len(claimed) < _MAX_VISITED:
        thing = stack.pop()
        if id(thing) in claimed or isinstance(thing, type):
            continue
        # Python 3.11 cannot find the trace of an instance with a __dict__, but new_ids has it.
        made_at = tracemalloc.get_object_traceback(thing)
        if made_at is None and id(thing) not in new_ids:
            continue  # older than the window: not part of the leak
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
            entry = charged.setdefault(allocation_stack(made_at), [0, 0])
            entry[0] += 1
            entry[1] += size
        stack.extend(referents)
        stack.extend(weakref.getweakrefs(thing))  # freed with the object: asyncio registers tasks by weak references
    return total


def _heap_sites(snapshot, charged):
    """Allocation sites of the living memory that is charged to no resource, the most bytes first."""
    if snapshot is None:
        return []
    sites = {}
    for trace in snapshot.traces:
        site = allocation_stack(trace.traceback)
        if site is None:
            continue
        entry = sites.setdefault(site, [0, 0])
        entry[0] += 1
        entry[1] += trace.size
    rows = []
    for site, (number, size) in sites.items():
        charged_number, charged_size = charged.get(site, (0, 0))
        if size > charged_size:
            rows.append(
                {
                    "count": max(1, number - charged_number),
                    "bytes": size - charged_size,
                    "stack": [described(frame) for frame in site],
                }
            )
    return _largest(rows, "bytes")


def _open_files(recorder, new_objects):
    """{stack: [file objects]} of the files opened in the window and still open."""
    groups = {}
    for thing in new_objects:
        if type(thing) not in _FILE_TYPES:
            continue
        try:
            path = os.readlink(f"/proc/self/fd/{thing.fileno()}")
        except (OSError, ValueError):
            continue  # closed, not a file, or a system without /proc
        stack = recorder.opened.get(path.removesuffix(" (deleted)"))
        if stack is not None:
            groups.setdefault(stack, []).append(thing)
    return groups


def _files_left(recorder):
    """Rows of the temporary files that were opened in the window and still exist."""
    folder = os.path.abspath(tempfile.gettempdir()) + os.sep
    groups = Counter(
        stack for path, stack in recorder.opened.items() if path.startswith(folder) and os.path.exists(path)
    )
    rows = [{"count": number, "stack": describe(stack), "retained_bytes": 0} for stack, number in groups.items()]
    return _largest(rows, "count")


def _suspended_generators(new_ids):
    """{stack of one frame, where it waits: [async generators]} of those created in the window."""
    groups = {}
    for generator in census.live_async_generators(census.objects_by_type()):
        if id(generator) in new_ids:
            frame = generator.ag_frame
            groups.setdefault(((frame.f_code, frame.f_lasti),), []).append(generator)
    return groups


def _types(new_objects):
    """[{"type": class name, "count"}] of the living objects that were created in the window, the most first."""
    counts = Counter(map(type, new_objects))
    return [{"type": retainers.class_name(kind), "count": number} for kind, number in counts.most_common(_MAX_TYPES)]


def _largest(rows, key):
    return sorted(rows, key=lambda row: row[key], reverse=True)[:_MAX_SITES]
