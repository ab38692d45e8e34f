"""The commands of the harness: begin, sample, read_cheap; begin_trace, survey; begin_error_trace, caught_errors."""

import os
import sys
import threading
import tracemalloc
import weakref

from leakline_agent import blocks, census, freezer, heap, retainers, survivors
from leakline_agent.caught import CaughtExceptions
from leakline_agent.recorder import Recorder
from leakline_agent.state import importing

_LOOP_ANSWER_S, _SHORT_ANSWER_S = 5.0, 0.2
"""How long to wait for a running event loop to begin a command; the second is for an unresponsive one."""

_imported_in = os.getpid()
_unresponsive = weakref.WeakSet()
"""Event loops that did not begin the last command in time, or that a fork has copied."""
_DEEP_FRAMES = 10
"""Frames of each allocation in a deep trace."""


class Commands:
    """The agent in one process: runs the harness's commands, and holds the state of a trace window."""

    def __init__(self):
        self._recorder = None
        self._own_trace = False
        """Whether the agent has started tracemalloc; if the SUT has, it is left running."""
        self._froze = False
        """Whether the objects from before the trace window are frozen, so that the newer ones are known."""
        self._sizes = {}
        """`retainers.sizes` at the start of the trace window."""
        self._lengths = {}
        """`blocks.lengths` at the start of the trace window."""
        self._has_growing_buffers = True
        """Whether the last trace window had such; True before the first."""
        self._caught = None
        self._native = None
        if os.getpid() != _imported_in and (loop := _running_loop()) is not None:
            _unresponsive.add(loop)  # the parent's running loop, copied by fork: as a rule it does not run here

    def run(self, asked):
        """Run one command, {"do": name, "with": options}, and return its result.

        It runs on the event loop's thread if a loop runs, so that no task or timer of the loop changes meanwhile.
        Raises KeyError for an unknown command.
        """
        command = {
            "begin": self.begin,
            "sample": self.sample,
            "read_cheap": census.read_cheap,
            "begin_trace": self.begin_trace,
            "survey": self.survey,
            "begin_error_trace": self.begin_error_trace,
            "caught_errors": self.caught_errors,
        }[asked["do"]]
        return _on_loop_thread(lambda: command(**asked.get("with", {})))

    def begin(self):
        """Prepare for samples. {"traced": whether tracemalloc must measure the heap, which doubles the CPU time}."""
        traced = heap.in_use() is None
        if traced and not tracemalloc.is_tracing():
            tracemalloc.start(1)
            self._own_trace = True
        return {"traced": traced}

    def sample(self):
        """The counters of this process: {"resources": {name: number}, "listener_excess": [...]}.

        A resource that cannot be read is left out. The first sample freezes all objects that exist, so that the later
        ones take about a tenth of its time.
        """
        census.collect_garbage()
        if self._recorder is None and self._native is None and not freezer.is_ours():
            freezer.freeze()
        return census.count(freezer.of_interest())

    def begin_trace(self, deep=False, native=False, folder=None):
        """Begin a trace window: record where resources are created, and trace memory from now on.

        `deep` records whole stacks of allocations, to find the user's line that called a library. It makes a server
        ten times slower (CPython decodes a line table for every frame), so it is for a few calls. `native` has memray
        trace native allocations instead, into a file in `folder`; raises ImportError without memray.
        """
        self._stop_trace()
        freezer.thaw()
        census.collect_garbage()
        if native:
            with importing:
                from leakline_agent.native import NativeTrace

                self._native = NativeTrace(folder)
            return {}
        sizes = retainers.sizes()
        # A deep trace follows a plain one, which has shown whether there are growing buffers.
        lengths = blocks.lengths() if not deep or self._has_growing_buffers else {}
        self._froze = freezer.freeze()  # objects that are not frozen at the end were created in the window
        self._sizes, self._lengths = (sizes, lengths) if self._froze else ({}, {})
        if not tracemalloc.is_tracing():
            tracemalloc.start(_DEEP_FRAMES if deep else 1)
            self._own_trace = True
        self._recorder = Recorder()
        self._recorder.install()
        return {}

    def survey(self, least=1):
        """End the trace window: what was created in it and is alive, by the stack that created it.

        Rows as of `survivors.survey`; "blocks" as of `blocks.sites`; "containers" as of `retainers.named`, of those
        that grew by `least` entries or more, since finding the name of one walks the whole heap.
        """
        if self._native is not None:
            native, self._native = self._native, None
            census.collect_garbage()
            return {"resources": {}, "heap": native.stop()}
        recorder, self._recorder = self._recorder, None
        if recorder is None:
            return {"resources": {}, "heap": []}  # a process that started within the window
        recorder.uninstall()
        census.collect_garbage()
        new_objects = census.objects()
        new_ids = {id(thing) for thing in new_objects} if self._froze else set()
        freezer.thaw()
        alive = survivors.Survivors(recorder, new_objects, new_ids)
        self._stop_trace()  # before the rest, which creates objects: tracing these took most of the time
        sizes, self._sizes = self._sizes, {}
        lengths, self._lengths = self._lengths, {}
        longer = blocks.grown(lengths, new_ids, least) if lengths else []
        rows = blocks.sites(longer, alive.snapshot, alive.charged)
        self._has_growing_buffers = any(blocks.is_bytes(value) for _, value in longer)
        survey = survivors.survey(recorder, alive)
        containers = retainers.grown(sizes, new_ids, least) if sizes else []
        return {**survey, "blocks": rows, "containers": containers + blocks.owners(longer, new_ids)}

    def begin_error_trace(self):
        """Begin to record where exceptions are caught."""
        self._caught = CaughtExceptions()
        self._caught.install()
        return {}

    def caught_errors(self):
        """{"caught": rows of `CaughtExceptions.rows`} since `begin_error_trace`, which it ends."""
        caught, self._caught = self._caught, None
        if caught is None:
            return {"caught": []}
        caught.uninstall()
        return {"caught": caught.rows()}

    def release(self):
        """Remove all hooks and traces from the process."""
        if self._caught is not None:
            self._caught.uninstall()
            self._caught = None
        if self._native is not None:
            self._native.stop()
            self._native = None
        if self._recorder is not None:
            self._recorder.uninstall()
            self._recorder = None
        self._stop_trace()
        freezer.thaw()

    def _stop_trace(self):
        if self._own_trace:
            tracemalloc.stop()
            self._own_trace = False


def _on_loop_thread(work):
    """Run `work` in the running event loop; in this thread when none runs or it does not begin in time."""
    loop = _running_loop()
    if loop is None:
        return work()
    started, done, box = threading.Lock(), threading.Event(), {}

    def inside():
        if not started.acquire(blocking=False):
            return
        try:
            box["result"] = work()
        except BaseException as error:
            box["error"] = error
        done.set()

    try:
        loop.call_soon_threadsafe(inside)
    except RuntimeError:  # the loop was closed in between
        return work()
    done.wait(_SHORT_ANSWER_S if loop in _unresponsive else _LOOP_ANSWER_S)
    if started.acquire(blocking=False):
        _unresponsive.add(loop)
        return work()  # the loop is blocked: a less exact count is better than none
    done.wait()
    _unresponsive.discard(loop)
    if "error" in box:
        raise box["error"]
    return box["result"]


def _running_loop():
    if "asyncio" not in sys.modules:
        return None
    running = [loop for loop in census.event_loops() if loop.is_running()]
    return running[0] if running else None
