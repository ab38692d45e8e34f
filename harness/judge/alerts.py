"""The alerts of the monitor: five of them, each raised once and cleared once. `Alerts` keeps state, but no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal, get_args

from leakline.harness.data.errors import UsageError
from leakline.harness.data.words import amount, printable

Alert = Literal["timers", "listeners", "heap", "fds", "connections"]
ALERTS: tuple[Alert, ...] = get_args(Alert)
"""All alerts, in the order in which they are reported."""

_MB = 1_000_000
_HOUR_S = 3600.0
_LATE_RATE = 0.5
"""Least growth of the heap in the later half of the window, as a fraction of the limit: less has stopped."""


@dataclass(frozen=True)
class Thresholds:
    """The limits above which alerts are raised. Raises UsageError, naming the field."""

    timers: float = 10.0
    """Timers above the baseline, which is the first observation."""
    listeners: float = 0.0
    """Listeners of one event above what its emitter allows."""
    heap_mb_per_hour: float = 100.0
    """Growth of the heap over the whole of `window_s`, in MB an hour; of rss where the server has no agent."""
    heap_jump_mb: float = 50.0
    """Growth of the same from one observation to the next, in MB."""
    fds_share: float = 0.8
    """Fraction of the process's limit of open files."""
    connections: float = 5.0
    """Sockets above those expected: the baseline's, and `sockets_per_call` for each call above the baseline's."""
    sockets_per_call: float = 2.0
    """Sockets that a call needs: its media stream's and its model session's."""
    window_s: float = 600.0
    """How long the heap must have grown, in seconds."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
                raise UsageError(f"threshold {field.name}: expected a number of 0 or more, found {value!r}")
        if self.window_s == 0:
            raise UsageError("threshold window_s: expected more than 0 seconds, found 0")


def thresholds(given: Mapping[str, str]) -> Thresholds:
    """Thresholds from {field: number as text}; the others have their defaults. Raises UsageError."""
    known = [field.name for field in fields(Thresholds)]
    values = {}
    for name, text in given.items():
        if name not in known:
            raise UsageError(f"threshold: expected one of {', '.join(known)}, found {name!r}")
        try:
            values[name] = float(text)
        except ValueError:
            raise UsageError(f"threshold {name}: expected a number, found {text!r}") from None
    return Thresholds(**values)


@dataclass(frozen=True, slots=True)
class Observation:
    """What a server holds at one time; None where that is not known."""

    at_s: float
    heap_bytes: float
    sockets: float
    fds: float
    fds_limit: float | None = None
    timers: float | None = None
    most_listened: tuple[str, str, int, int] | None = None
    """(emitter, event, listeners, how many the emitter allows) of the event that most exceeds its limit, if any."""
    calls: float | None = None
    """Calls in progress."""


@dataclass(frozen=True, slots=True)
class Change:
    """An alert was raised, or cleared."""

    alert: Alert
    raised: bool
    text: str

    def __str__(self) -> str:
        return f"{'ALERT' if self.raised else 'clear'}  {self.alert}: {self.text}"


class Alerts:
    """Follows one server. The first observation is the baseline."""

    def __init__(self, limits: Thresholds) -> None:
        self._limits = limits
        self._first: Observation | None = None
        self._window: deque[Observation] = deque()
        self._before_jump: float | None = None
        self.raised: dict[Alert, str] = {}
        """{alert: its text}, of those that are raised now."""

    def observe(self, now: Observation) -> tuple[Change, ...]:
        """The alerts that this observation raises or clears; observations come in the order of time."""
        self._first = self._first or now
        last = self._window[-1] if self._window else now
        self._window.append(now)
        while len(self._window) > 2 and now.at_s - self._window[1].at_s >= self._limits.window_s:
            self._window.popleft()
        texts = {
            "timers": self._timers(now, self._first),
            "listeners": self._listeners(now),
            "heap": self._heap(now, last),
            "fds": self._fds(now),
            "connections": self._connections(now, self._first),
        }
        changes = []
        for alert in ALERTS:
            text = texts[alert]
            if text and alert not in self.raised:
                changes.append(Change(alert, raised=True, text=text))
            if not text and alert in self.raised:
                changes.append(Change(alert, raised=False, text=f"resolved: {self.raised[alert]}"))
            if text:
                self.raised[alert] = text
            else:
                self.raised.pop(alert, None)
        return tuple(changes)

    def _timers(self, now: Observation, first: Observation) -> str:
        if now.timers is None or first.timers is None or now.timers <= first.timers + self._limits.timers:
            return ""
        return f"{now.timers:.0f} timers are set, {first.timers:.0f} were at first"

    def _listeners(self, now: Observation) -> str:
        if now.most_listened is None:
            return ""
        emitter, event, number, allowed = now.most_listened
        if number <= allowed + self._limits.listeners:
            return ""
        return printable(f"{number} listeners of '{event}' on one {emitter}, which allows {allowed}")

    def _heap(self, now: Observation, last: Observation) -> str:
        jump = self._limits.heap_jump_mb * _MB
        if now.heap_bytes - last.heap_bytes >= jump and self._before_jump is None:
            self._before_jump = last.heap_bytes
        if self._before_jump is not None:
            grown = now.heap_bytes - self._before_jump
            if grown >= jump / 2:
                return f"a jump of {amount('heap', grown)}, to {amount('heap', now.heap_bytes)}"
            self._before_jump = None
        return self._sustained(now)

    def _sustained(self, now: Observation) -> str:
        oldest, middle = self._window[0], self._window[len(self._window) // 2]
        spans = (now.at_s - oldest.at_s, now.at_s - middle.at_s)
        if spans[0] < self._limits.window_s or not all(spans):
            return ""
        rates = [
            (now.heap_bytes - since.heap_bytes) / span * _HOUR_S / _MB
            for since, span in zip((oldest, middle), spans, strict=True)
        ]
        limit = self._limits.heap_mb_per_hour
        if rates[0] <= limit or rates[1] <= _LATE_RATE * limit:
            return ""
        return f"grows by {rates[0]:,.0f} MB an hour, for {spans[0]:,.0f} s"

    def _fds(self, now: Observation) -> str:
        if not now.fds_limit or now.fds <= self._limits.fds_share * now.fds_limit:
            return ""
        return f"{now.fds:.0f} of {now.fds_limit:.0f} descriptors are open"

    def _connections(self, now: Observation, first: Observation) -> str:
        calls, calls_first = now.calls or 0.0, first.calls or 0.0
        expected = first.sockets + self._limits.sockets_per_call * max(0.0, calls - calls_first)
        if now.sockets <= expected + self._limits.connections:
            return ""
        with_calls = "" if now.calls is None else f" with {calls:.0f} calls"
        return f"{now.sockets:.0f} sockets are open{with_calls}, {expected:.0f} were expected"
