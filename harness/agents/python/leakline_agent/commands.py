"""What the harness can ask: `begin`, `sample`, `peek`, `watch`, `sites`, `watch_errors`, `errors`."""

import os
import sys
import threading
import tracemalloc
import weakref

from leakline_agent import census, freezer, heap, holders, keepers, pieces
from leakline_agent.recorder import Recorder
from leakline_agent.state import importing
from leakline_agent.swallowed import Swallowed

_LOOP_ANSWER_S, _AGAIN_S = 5.0, 0.2
"""How long a running event loop may take to answer; and one that did not the last time, or is of before a fork."""

_imported_in = os.getpid()
_deaf = weakref.WeakSet()
_DEEP_FRAMES = 10


class Commands:
    """The agent's state in one process."""

    def __init__(self):
        self._recorder = None
        self._own_trace = False
        self._froze = False
        self._sizes = {}
        self._lengths = {}
        self._has_pieces = True
        self._swallowed = None
        self._native = None
        if os.getpid() != _imported_in and (loop := _running_loop()) is not None:
            _deaf.add(loop)  # a fork's copy of a running loop: as a rule nobody goes back to it

    def run(self, asked):
        """Do one command, on the event loop's own thread where there is one: nothing moves meanwhile."""
        command = {
            "begin": self.begin,
            "sample": self.sample,
            "peek": census.peek,
            "watch": self.watch,
            "sites": self.sites,
            "watch_errors": self.watch_errors,
            "errors": self.errors,
        }[asked["do"]]
        return _on_loop_thread(lambda: command(**asked.get("with", {})))

    def begin(self):
        """Make ready to count: where the allocators cannot be asked, memory is traced (at twice the server's CPU)."""
        traced = heap.in_use() is None
        if traced and not tracemalloc.is_tracing():
            tracemalloc.start(1)
            self._own_trace = True
        return {"traced": traced}

    def sample(self):
        """The counters of this process: {"resources": {name: number}}; a resource it cannot see is left out.

        From the first sample on what there was is frozen for the collector: the next ones take a tenth of its time.
        """
        census.settle()
        if self._recorder is None and self._native is None and not freezer.is_ours():
            freezer.freeze()
        return census.count(freezer.of_interest())

    def watch(self, deep=False, native=False, folder=None):
        """Begin to note where things are made, and trace memory anew.

        `deep` traces enough frames of each allocation to name the user's line behind a library's. It makes a
        server ten times slower (CPython decodes a line table for every frame), so it is for a few slow calls.
        `native` has memray note what C code allocates too; it writes to `folder`. Raises ImportError without memray.
        """
        self._stop_trace()
        freezer.thaw()
        census.settle()
        if native:
            with importing:
                from leakline_agent.native import NativeTrace

                self._native = NativeTrace(folder)
            return {}
        sizes = keepers.sizes()
        # A deep watch follows one that has seen what grows in one piece.
        lengths = pieces.lengths() if not deep or self._has_pieces else {}
        self._froze = freezer.freeze()  # what is not frozen at the end was made in between
        self._sizes, self._lengths = (sizes, lengths) if self._froze else ({}, {})
        if not tracemalloc.is_tracing():
            tracemalloc.start(_DEEP_FRAMES if deep else 1)
            self._own_trace = True
        self._recorder = Recorder()
        self._recorder.install()
        return {}

    def sites(self, least=1):
        """What was made since `watch` and still lives, by the place that made it; ends the watch.

        Containers that grew by less than `least` are left out: to name one walks the whole heap.
        """
        if self._native is not None:
            native, self._native = self._native, None
            census.settle()
            return {"resources": {}, "heap": native.stop()}
        recorder, self._recorder = self._recorder, None
        if recorder is None:
            return {"resources": {}, "heap": []}  # a process that was started meanwhile
        recorder.uninstall()
        census.settle()
        fresh = census.objects()
        young = {id(thing) for thing in fresh} if self._froze else set()
        freezer.thaw()
        held = holders.Held(recorder, fresh, young)
        self._stop_trace()  # what is counted from here on makes objects: noting their stacks took most of the time
        sizes, self._sizes = self._sizes, {}
        lengths, self._lengths = self._lengths, {}
        longer = pieces.grown(lengths, young, least) if lengths else []
        places = pieces.places(longer, held.snapshot, held.taken)
        self._has_pieces = any(pieces.is_bytes(piece) for _, piece in longer)
        survey = holders.survey(recorder, held)
        containers = keepers.grown(sizes, young, least) if sizes else []
        return {**survey, "pieces": places, "containers": containers + pieces.owners(longer, young)}

    def watch_errors(self):
        """Begin to note where exceptions are caught."""
        self._swallowed = Swallowed()
        self._swallowed.install()
        return {}

    def errors(self):
        """Where exceptions were caught since `watch_errors`; ends that."""
        swallowed, self._swallowed = self._swallowed, None
        if swallowed is None:
            return {"caught": []}
        swallowed.uninstall()
        return {"caught": swallowed.rows()}

    def release(self):
        """Leave the process as it was found."""
        if self._swallowed is not None:
            self._swallowed.uninstall()
            self._swallowed = None
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
    """Run `work` inside the running event loop, or here when there is none or it does not answer."""
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
    except RuntimeError:  # closed in between
        return work()
    done.wait(_AGAIN_S if loop in _deaf else _LOOP_ANSWER_S)
    if started.acquire(blocking=False):
        _deaf.add(loop)
        return work()  # the loop is blocked: better a count from here than none
    done.wait()
    _deaf.discard(loop)
    if "error" in box:
        raise box["error"]
    return box["result"]


def _running_loop():
    if "asyncio" not in sys.modules:
        return None
    running = [loop for loop in census.event_loops() if loop.is_running()]
    return running[0] if running else None
