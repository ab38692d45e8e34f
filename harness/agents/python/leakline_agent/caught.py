"""Where exceptions are caught in the user's own code, during one trace window."""

import sys

from leakline_agent.frames import describe, kind_of

_MAX_EXCEPTIONS = 20_000
"""Exceptions that are kept in `_last`; further ones are not counted."""
_TOOL = 4  # of the tool ids 0 to 5 of sys.monitoring, 0, 1, 2 and 5 are reserved for kinds of tools


class CaughtExceptions:
    """Counts caught exceptions by line: with `sys.monitoring`, in Python 3.11 with `sys.settrace`."""

    def __init__(self):
        self._last = {}
        """{id(exception): (exception, type's name, code, instruction)}: where each was raised or passed through last.

        Used with `sys.settrace` only. It keeps the exceptions alive, so that no identity is used twice.
        """
        self._counts = {}
        """{(type's name, code, instruction): how many were caught there}, the latest last."""

    def install(self):
        """Begin to count, in all threads (Python 3.11: in this one)."""
        monitoring = getattr(sys, "monitoring", None)
        if monitoring is None:
            sys.settrace(self._trace)
            return
        monitoring.use_tool_id(_TOOL, "leakline")
        monitoring.register_callback(_TOOL, monitoring.events.EXCEPTION_HANDLED, self._on_handled)
        monitoring.set_events(_TOOL, monitoring.events.EXCEPTION_HANDLED)

    def uninstall(self):
        """Stop counting."""
        monitoring = getattr(sys, "monitoring", None)
        if monitoring is None:
            sys.settrace(None)
            return
        monitoring.set_events(_TOOL, 0)
        monitoring.register_callback(_TOOL, monitoring.events.EXCEPTION_HANDLED, None)
        monitoring.free_tool_id(_TOOL)

    def rows(self):
        """[{"count", "type", "stack"}], a stack of one frame; the latest first.

        The latest comes first because of retries: the exception of the last try is the one that ends the exchange.
        """
        for _, name, code, instruction in self._last.values():
            self._count(name, code, instruction)
        self._last = {}
        return [
            {"count": number, "type": name, "stack": describe([(code, instruction)])}
            for (name, code, instruction), number in reversed(self._counts.items())
        ]

    def _count(self, *site):
        self._counts[site] = self._counts.pop(site, 0) + 1  # popped first: the dict is in the order of the latest

    def _on_handled(self, code, instruction, exception):
        if kind_of(code.co_filename) == "user":
            self._count(type.__dict__["__name__"].__get__(type(exception)), code, instruction)

    def _trace(self, frame, event, argument):
        return self._local if kind_of(frame.f_code.co_filename) == "user" else None

    def _local(self, frame, event, argument):
        if event == "exception" and len(self._last) < _MAX_EXCEPTIONS:
            exception = argument[1]
            if isinstance(exception, BaseException):
                before = exception.__context__
                if before is not None:
                    self._last.pop(id(before), None)  # that one was caught, and this one raised in its handler
                name = type.__dict__["__name__"].__get__(type(exception))
                self._last.pop(id(exception), None)
                self._last[id(exception)] = (exception, name, frame.f_code, frame.f_lasti)
        return self._local
