"""When a running server should worry somebody: five alerts, each raised once and cleared once."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal, get_args

from leakline.harness.data.errors import UsageError
from leakline.harness.data.words import amount, printable

Alert = Literal["timers", "listeners", "heap", "fds", "connections"]
ALERTS: tuple[Alert, ...] = get_args(Alert)

_MB = 1_000_000
_HOUR_S = 3600.0
_STILL_GROWING = 0.5


@dataclass(frozen=True)
class Thresholds:
    """From where on each alert is raised. Raises UsageError, naming the field."""

    timers: float = 10.0
    """Timers over the baseline, which is the first reading."""
    listeners: float = 0.0
    """Listeners of one event over what its emitter allows."""
    heap_mb_per_hour: float = 100.0
    """Growth of the heap (of rss where no agent is in), over the whole `window_s`."""
    heap_jump_mb: float = 50.0
    """Growth of it from one reading to the next."""
    fds_share: float = 0.8
    """Share of the process's limit of open files."""
    connections: float = 5.0
    """Sockets over what is expected: the baseline's, and `sockets_per_call` for each call more than then."""
    sockets_per_call: float = 2.0
    """A call's own, and its model session's."""
    window_s: float = 600.0
    """How long the heap must have grown."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
                raise UsageError(f"threshold {field.name}: expected a number of 0 or more, found {value!r}")
        if self.window_s == 0:
            raise UsageError("threshold window_s: expected more than 0 seconds, found 0")


def thresholds(given: Mapping[str, str]) -> Thresholds:
    """Thresholds from names and texts. Raises UsageError."""
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
class Reading:
    """What a server holds at one time; None is not known."""

    at_s: float
    heap_bytes: float
    sockets: float
    fds: float
    fds_limit: float | None = None
    timers: float | None = None
    crowd: tuple[str, str, int, int] | None = None
    """(emitter, event, listeners, how many it allows) of the most crowded event, if one has more than it allows."""
    calls: float | None = None
    """Calls that are going on."""


@dataclass(frozen=True, slots=True)
class Change:
    """An alert was raised, or cleared."""

    alert: Alert
    raised: bool
    text: str

    def __str__(self) -> str:
        return f"{'ALERT' if self.raised else 'clear'}  {self.alert}: {self.text}"


class Alerts:
    """Follows one server. The first reading is the baseline."""

    def __init__(self, limits: Thresholds) -> None:
        self._limits = limits
        self._first: Reading | None = None
        self._window: deque[Reading] = deque()
        self._before_jump: float | None = None
        self.raised: dict[Alert, str] = {}
        """The alerts that are raised now, with their texts."""

    def observe(self, reading: Reading) -> tuple[Change, ...]:
        """What this reading changes."""
        self._first = self._first or reading
        last = self._window[-1] if self._window else reading
        self._window.append(reading)
        while len(self._window) > 2 and reading.at_s - self._window[1].at_s >= self._limits.window_s:
            self._window.popleft()
        now = {
            "timers": self._timers(reading, self._first),
            "listeners": self._listeners(reading),
            "heap": self._heap(reading, last),
            "fds": self._fds(reading),
            "connections": self._connections(reading, self._first),
        }
        changes = []
        for alert in ALERTS:
            text = now[alert]
            if text and alert not in self.raised:
                changes.append(Change(alert, raised=True, text=text))
            if not text and alert in self.raised:
                changes.append(Change(alert, raised=False, text=f"no longer so: {self.raised[alert]}"))
            if text:
                self.raised[alert] = text
            else:
                self.raised.pop(alert, None)
        return tuple(changes)

    def _timers(self, reading: Reading, first: Reading) -> str:
        if reading.timers is None or first.timers is None or reading.timers <= first.timers + self._limits.timers:
            return ""
        return f"{reading.timers:.0f} timers are set, {first.timers:.0f} were at first"

    def _listeners(self, reading: Reading) -> str:
        if reading.crowd is None:
            return ""
        emitter, event, number, most = reading.crowd
        if number <= most + self._limits.listeners:
            return ""
        return printable(f"{number} listeners of '{event}' on one {emitter}, which allows {most}")

    def _heap(self, reading: Reading, last: Reading) -> str:
        jump = self._limits.heap_jump_mb * _MB
        if reading.heap_bytes - last.heap_bytes >= jump and self._before_jump is None:
            self._before_jump = last.heap_bytes
        if self._before_jump is not None:
            grown = reading.heap_bytes - self._before_jump
            if grown >= jump / 2:
                return f"a jump of {amount('heap', grown)}, to {amount('heap', reading.heap_bytes)}"
            self._before_jump = None
        return self._sustained(reading)

    def _sustained(self, reading: Reading) -> str:
        oldest, middle = self._window[0], self._window[len(self._window) // 2]
        spans = (reading.at_s - oldest.at_s, reading.at_s - middle.at_s)
        if spans[0] < self._limits.window_s or not all(spans):
            return ""
        rates = [
            (reading.heap_bytes - since.heap_bytes) / span * _HOUR_S / _MB
            for since, span in zip((oldest, middle), spans, strict=True)
        ]
        least = self._limits.heap_mb_per_hour
        if rates[0] <= least or rates[1] <= _STILL_GROWING * least:
            return ""
        return f"grows by {rates[0]:,.0f} MB an hour, for {spans[0]:,.0f} s"

    def _fds(self, reading: Reading) -> str:
        if not reading.fds_limit or reading.fds <= self._limits.fds_share * reading.fds_limit:
            return ""
        return f"{reading.fds:.0f} of {reading.fds_limit:.0f} descriptors are open"

    def _connections(self, reading: Reading, first: Reading) -> str:
        calls, calls_first = reading.calls or 0.0, first.calls or 0.0
        expected = first.sockets + self._limits.sockets_per_call * max(0.0, calls - calls_first)
        if reading.sockets <= expected + self._limits.connections:
            return ""
        with_calls = "" if reading.calls is None else f" with {calls:.0f} calls"
        return f"{reading.sockets:.0f} sockets are open{with_calls}, {expected:.0f} were expected"
