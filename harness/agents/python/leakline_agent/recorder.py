"""Records where timers, tasks, threads, sockets, files and listeners are created, during one trace window.

Each hook wraps a method of a library that the SUT has imported, calls the original with the same arguments, and
records the caller's stack under the identity (`id`) of the new object. An identity may be used again when its object
has died, but it is looked up for living objects only, so the latest record is the right one.
"""

import os
import sys
import threading
from collections import Counter

from leakline_agent.frames import caller_stack, has_user_frame

_MAX_RECORDS = 200_000
"""Of one resource; further objects are not recorded, so that the memory of a long window is bounded."""
_recorder_of_opens = None
"""The recorder that the audit hook reports to; None outside a trace window."""


class Recorder:
    """The records of one trace window."""

    def __init__(self):
        self.made = {name: {} for name in ("timers", "tasks", "threads", "sockets", "listeners")}
        """{resource: {id(object): stack that created it}}; stacks as in frames.stack."""
        self.set_timers = Counter()
        """{stack: how many timers were set there}, those that have gone off included: what wakes the process up."""
        self.opened = {}
        """{absolute path: stack} of the files opened."""
        self._undo = []
        """(class, method's name, the original or None where it was inherited) of the hooks, in their order."""

    def install(self):
        """Install the hooks."""
        self._hook_loops()
        self._wrap_init(threading.Thread, "start", "threads")
        if "socket" in sys.modules:
            self._wrap_init(sys.modules["socket"].socket, "__init__", "sockets")
        emitters = sys.modules.get("pyee.base")
        if emitters is not None and hasattr(emitters.EventEmitter, "_add_event_handler"):
            self._hook_registration(emitters.EventEmitter, "_add_event_handler", 1)
        signals = sys.modules.get("blinker.base")
        if signals is not None and isinstance(getattr(signals, "Signal", None), type):
            self._hook_registration(signals.Signal, "connect", 0)
        self._hook_opens()

    def uninstall(self):
        """Remove the hooks: every method is again what it was."""
        global _recorder_of_opens
        _recorder_of_opens = None
        while self._undo:
            owner, name, original = self._undo.pop()
            if original is None:
                delattr(owner, name)
            else:
                setattr(owner, name, original)

    def record(self, resource, thing, stack):
        """Record that `thing` was created at `stack`."""
        if resource == "timers" and len(self.set_timers) < _MAX_RECORDS:
            self.set_timers[stack] += 1
        if resource == "timers" and not has_user_frame(stack) and self._in_older_task():
            return  # a library's task from before the window sets its own timer again: not of the window's calls
        records = self.made[resource]
        if len(records) < _MAX_RECORDS:
            records[id(thing)] = stack

    def _replace(self, owner, name, hook):
        self._undo.append((owner, name, owner.__dict__.get(name)))
        setattr(owner, name, hook)

    def _hook_loops(self):
        base_events = sys.modules.get("asyncio.base_events")
        if base_events is not None:
            self._wrap_result(base_events.BaseEventLoop, "call_at", "timers")
            self._wrap_result(base_events.BaseEventLoop, "create_task", "tasks")
        uvloop = sys.modules.get("uvloop")
        if uvloop is not None and isinstance(getattr(uvloop, "Loop", None), type):
            for name, resource in (("call_later", "timers"), ("call_at", "timers"), ("create_task", "tasks")):
                self._wrap_result(uvloop.Loop, name, resource)
            self._wrap_connection(uvloop.Loop)

    def _wrap_result(self, owner, name, resource):
        original, recorder = getattr(owner, name), self

        def hook(*args, **kwargs):
            made = original(*args, **kwargs)
            recorder.record(resource, made, recorder.chained(caller_stack()))
            return made

        self._replace(owner, name, hook)

    def _wrap_connection(self, owner):
        """uvloop opens its sockets in C, so the transport that it returns is recorded in place of a socket."""
        original, recorder = owner.create_connection, self

        async def hook(*args, **kwargs):
            stack = recorder.chained(caller_stack())
            transport, protocol = await original(*args, **kwargs)
            recorder.record("sockets", transport, stack)
            return transport, protocol

        self._replace(owner, "create_connection", hook)

    def _wrap_init(self, owner, name, resource):
        original, recorder = getattr(owner, name), self

        def hook(thing, *args, **kwargs):
            original(thing, *args, **kwargs)
            recorder.record(resource, thing, recorder.chained(caller_stack()))

        self._replace(owner, name, hook)

    def _hook_registration(self, owner, name, at):
        """Record what a method registers: its argument number `at`, counted from 0 without `self`."""
        original, recorder = getattr(owner, name), self

        def hook(registry, *args, **kwargs):
            made = original(registry, *args, **kwargs)
            if len(args) > at:
                recorder.record("listeners", args[at], recorder.chained(caller_stack()))
            return made

        self._replace(owner, name, hook)

    def _hook_opens(self):
        global _recorder_of_opens
        _install_audit_hook()
        _recorder_of_opens = self

    def _in_older_task(self):
        task = _current_task()
        return task is not None and id(task) not in self.made["tasks"]

    def chained(self, stack):
        """`stack`, followed by the stack that created the task it runs in, if that was created in this window."""
        task = _current_task()
        made_at = self.made["tasks"].get(id(task)) if task is not None else None
        return stack + made_at if made_at is not None else stack


def _current_task():
    asyncio = sys.modules.get("asyncio")
    try:
        return asyncio.current_task() if asyncio is not None else None
    except RuntimeError:  # no event loop runs in this thread
        return None


_audit_hook_installed = False


def _install_audit_hook():
    # An audit hook cannot be removed, so it is installed once, and returns at once outside a trace window.
    global _audit_hook_installed
    if not _audit_hook_installed:
        _audit_hook_installed = True
        sys.addaudithook(_on_audit)


def _on_audit(event, args):
    recorder = _recorder_of_opens
    if recorder is None or event != "open" or len(recorder.opened) >= _MAX_RECORDS:
        return
    try:
        path = os.path.abspath(os.fsdecode(args[0]))
        recorder.opened[path] = recorder.chained(caller_stack())
    except Exception:
        pass  # opened by a descriptor's number, or no valid path
