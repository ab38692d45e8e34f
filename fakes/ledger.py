"""The ledger: every connection and request that the fakes saw, and how each one ended.

What is still open after its call has ended is proof of a leak, seen from the other end of the wire.
Memory is bounded: what is open is kept whole, of what has ended only the newest `keep` and the counts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import count
from time import time
from typing import Any


@dataclass(frozen=True, slots=True)
class Connection:
    """One connection or request that a fake saw. Times are Unix seconds."""

    id: int
    service: str
    """`openai` or `twilio`."""
    kind: str
    """What it was for: `realtime`, `media-stream`, `chat.completions`, ..."""
    peer: str
    """The other end's `host:port`."""
    opened_at: float
    closed_at: float | None = None
    ending: str = ""
    """How it ended, in a few words: `closed 1000`, `200`, `reset`; empty while open."""
    detail: str = ""
    """What identifies it to a person: the model asked for, the streamSid, the path."""

    @property
    def is_open(self) -> bool:
        """Whether it has not ended yet."""
        return self.closed_at is None


class Ledger:
    """What the fakes saw. Not thread-safe: it belongs to the event loop of the fakes."""

    def __init__(self, *, keep: int = 1000, clock: Callable[[], float] = time) -> None:
        self._clock = clock
        self._ids = count(1)
        self._open: dict[int, Connection] = {}
        self._ended: deque[Connection] = deque(maxlen=keep)
        self._seen: dict[str, int] = {}

    def opened(self, service: str, kind: str, peer: str, detail: str = "") -> int:
        """Note a new connection or request; returns its id for `closed`."""
        connection = Connection(next(self._ids), service, kind, peer, self._clock(), detail=detail)
        self._open[connection.id] = connection
        self._seen[kind] = self._seen.get(kind, 0) + 1
        return connection.id

    def closed(self, connection_id: int, ending: str) -> None:
        """Note how it ended. Ending one twice keeps the first ending."""
        connection = self._open.pop(connection_id, None)
        if connection is not None:
            self._ended.append(replace(connection, closed_at=self._clock(), ending=ending))

    def still_open(self, kind: str | None = None) -> tuple[Connection, ...]:
        """What has not ended, oldest first."""
        return tuple(c for c in self._open.values() if kind is None or c.kind == kind)

    def ended(self, kind: str | None = None) -> tuple[Connection, ...]:
        """The newest of what has ended, oldest first (at most `keep` of all kinds)."""
        return tuple(c for c in self._ended if kind is None or c.kind == kind)

    def seen(self, kind: str) -> int:
        """How many of a kind there have been in all."""
        return self._seen.get(kind, 0)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain data."""
        return {
            "seen": dict(self._seen),
            "open": [asdict(c) for c in self._open.values()],
            "ended": [asdict(c) for c in self._ended],
        }
