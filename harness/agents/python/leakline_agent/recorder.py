"""Notes where timers, tasks, threads, sockets, files and listeners are made, for the length of one watch.

Each hook wraps one method of a library that the SUT has imported, calls it unchanged, and notes the stack
under the identity of what came back. Identities are only ever looked up for things that are alive, so the
newest note is the right one. `uninstall` puts every method back.
"""

import os
import sys
import threading
from collections import Counter

from leakline_agent.frames import caller_stack, has_user_frame

_MOST_NOTES = 200_000
_hooked_opens = None


class Recorder:
    """The notes of one watch: {resource: {id of the thing: stack}}."""

    def __init__(self):
        self.made = {name: {} for name in ("timers", "tasks", "threads", "sockets", "listeners")}
        self.set_timers = Counter()
        """{stack: how many timers were set there}, dead ones too: who wakes the process."""
        self.opened = {}
        """{path: stack} of files opened."""
        self._undo = []

    def install(self):
        """Put the hooks in."""
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
        """Take the hooks out."""
        global _hooked_opens
        _hooked_opens = None
        while self._undo:
            owner, name, original = self._undo.pop()
            if original is None:
                delattr(owner, name)
            else:
                setattr(owner, name, original)

    def note(self, resource, thing, stack):
        """Remember that `thing` was made at `stack`."""
        if resource == "timers" and len(self.set_timers) < _MOST_NOTES:
            self.set_timers[stack] += 1
        if resource == "timers" and not has_user_frame(stack) and self._in_older_task():
            return  # a library's task of before the watch has set its timer anew: nothing that this watch made
        notes = self.made[resource]
        if len(notes) < _MOST_NOTES:
            notes[id(thing)] = stack

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
            recorder.note(resource, made, recorder.chained(caller_stack()))
            return made

        self._replace(owner, name, hook)

    def _wrap_connection(self, owner):
        """uvloop opens its sockets in C: the transport that comes back stands for one."""
        original, recorder = owner.create_connection, self

        async def hook(*args, **kwargs):
            stack = recorder.chained(caller_stack())
            transport, protocol = await original(*args, **kwargs)
            recorder.note("sockets", transport, stack)
            return transport, protocol

        self._replace(owner, "create_connection", hook)

    def _wrap_init(self, owner, name, resource):
        original, recorder = getattr(owner, name), self

        def hook(thing, *args, **kwargs):
            original(thing, *args, **kwargs)
            recorder.note(resource, thing, recorder.chained(caller_stack()))

        self._replace(owner, name, hook)

    def _hook_registration(self, owner, name, at):
        """Note what is registered: the argument number `at` of the method."""
        original, recorder = getattr(owner, name), self

        def hook(registry, *args, **kwargs):
            made = original(registry, *args, **kwargs)
            if len(args) > at:
                recorder.note("listeners", args[at], recorder.chained(caller_stack()))
            return made

        self._replace(owner, name, hook)

    def _hook_opens(self):
        global _hooked_opens
        _install_audit_hook()
        _hooked_opens = self

    def _in_older_task(self):
        task = _current_task()
        return task is not None and id(task) not in self.made["tasks"]

    def chained(self, stack):
        """`stack`, and below it the stack that made the task that it runs in, if this watch saw that."""
        task = _current_task()
        made_at = self.made["tasks"].get(id(task)) if task is not None else None
        return stack + made_at if made_at is not None else stack


def _current_task():
    asyncio = sys.modules.get("asyncio")
    try:
        return asyncio.current_task() if asyncio is not None else None
    except RuntimeError:  # no loop runs in this thread
        return None


_audit_hook_installed = False


def _install_audit_hook():
    # An audit hook cannot be taken out again, so it is put in once and is idle outside a watch.
    global _audit_hook_installed
    if not _audit_hook_installed:
        _audit_hook_installed = True
        sys.addaudithook(_on_audit)


def _on_audit(event, args):
    recorder = _hooked_opens
    if recorder is None or event != "open" or len(recorder.opened) >= _MOST_NOTES:
        return
    try:
        path = os.path.abspath(os.fsdecode(args[0]))
        recorder.opened[path] = recorder.chained(caller_stack())
    except Exception:
        pass  # an fd number, or a path that is none
