"""Where exceptions end: the lines of the user's at which one is caught, for the length of one watch."""

import sys

from leakline_agent.frames import describe, kind_of

_MOST_NOTES = 20_000
_TOOL = 4  # sys.monitoring has six; 0 to 2 and 5 have names


class Swallowed:
    """Counts caught exceptions by place: what the monitoring of 3.12 tells, or a trace function before it."""

    def __init__(self):
        self._last = {}
        """{identity: (exception, type's name, code, instruction)}: kept for the watch, so that identities are."""
        self._caught = {}

    def install(self):
        """Begin."""
        monitoring = getattr(sys, "monitoring", None)
        if monitoring is None:
            sys.settrace(self._trace)
            return
        monitoring.use_tool_id(_TOOL, "leakline")
        monitoring.register_callback(_TOOL, monitoring.events.EXCEPTION_HANDLED, self._on_handled)
        monitoring.set_events(_TOOL, monitoring.events.EXCEPTION_HANDLED)

    def uninstall(self):
        """End."""
        monitoring = getattr(sys, "monitoring", None)
        if monitoring is None:
            sys.settrace(None)
            return
        monitoring.set_events(_TOOL, 0)
        monitoring.register_callback(_TOOL, monitoring.events.EXCEPTION_HANDLED, None)
        monitoring.free_tool_id(_TOOL)

    def rows(self):
        """[{"count", "type", "stack"}], the latest first: what is tried again is caught for good at the end."""
        """[{"count", "type", "stack"}], a stack of one frame."""
        for _, name, code, instruction in self._last.values():
            self._note(name, code, instruction)
        self._last = {}
        return [
            {"count": number, "type": name, "stack": describe([(code, instruction)])}
            for (name, code, instruction), number in reversed(self._caught.items())
        ]

    def _note(self, *place):
        self._caught[place] = self._caught.pop(place, 0) + 1  # in the order of their last times

    def _on_handled(self, code, instruction, exception):
        if kind_of(code.co_filename) == "user":
            self._note(type.__dict__["__name__"].__get__(type(exception)), code, instruction)

    def _trace(self, frame, event, argument):
        return self._local if kind_of(frame.f_code.co_filename) == "user" else None

    def _local(self, frame, event, argument):
        if event == "exception" and len(self._last) < _MOST_NOTES:
            exception = argument[1]
            if isinstance(exception, BaseException):
                before = exception.__context__
                if before is not None:
                    self._last.pop(id(before), None)  # it was turned into this one
                name = type.__dict__["__name__"].__get__(type(exception))
                self._last.pop(id(exception), None)
                self._last[id(exception)] = (exception, name, frame.f_code, frame.f_lasti)
        return self._local
