"""The ledger: every connection and request that the fakes saw, and how each one ended.

A connection that is still open after its call has ended is proof of a leak, seen from the other end of the wire.
Memory is bounded: every open connection is kept, but of those that ended only the newest `keep`, and the counts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from time import monotonic, time
from typing import Any

_STARTED = time() - monotonic()


def unix_seconds() -> float:
    """Unix seconds that never jump: the clock as it was when leakline began, continued by the monotonic clock."""
    return _STARTED + monotonic()


class EndReason(StrEnum):
    """Why a connection or request ended."""

    COMPLETED = "completed"
    """It ran its course: answered with a status below 400, or closed by either end."""
    FAILED = "failed"
    """Refused, or answered with an HTTP status from 400 up; a request of Twilio's that could not be made, too."""
    FAULT = "fault"
    """A rule of the fault plan ended it at the fake that answers."""
    DROPPED = "dropped"
    """The client went away before it had its answer, or without a WebSocket close frame."""


def reason_for_status(status: int) -> EndReason:
    """Why a request ended that was answered with this HTTP status."""
    return EndReason.FAILED if status >= 400 else EndReason.COMPLETED


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
    """How it ended, for people: `closed 1000`, `200`, `caller hung up`; empty while open."""
    reason: EndReason | None = None
    """Why it ended; None while open."""
    detail: str = ""
    """What identifies it to a person: the model asked for, the path."""
    call: str = ""
    """SID of the call that it belongs to; empty when that is not known."""
    certain: bool = False
    """Whether `call` is known for certain, and not only the most likely one."""
    received_bytes: int = 0
    """Payload bytes received from the peer."""
    sent_bytes: int = 0
    """Payload bytes sent to the peer."""

    @property
    def is_open(self) -> bool:
        """Whether it has not ended yet."""
        return self.closed_at is None

    @property
    def has_failed(self) -> bool:
        """Whether it ended with an error: a fault, a refusal, or an HTTP status from 400 up."""
        return self.reason in (EndReason.FAILED, EndReason.FAULT)


class Ledger:
    """What the fakes saw. Not thread-safe: use it on the event loop of the fakes alone."""

    def __init__(self, *, keep: int = 1000, clock: Callable[[], float] = unix_seconds) -> None:
        self._clock = clock
        self._last_id = 0
        self._open: dict[int, Connection] = {}
        self._bytes: dict[int, list[int]] = {}
        self._answered: set[int] = set()
        self._ended: deque[Connection] = deque(maxlen=keep)
        self._seen: dict[str, int] = {}

    def opened(self, service: str, kind: str, peer: str, detail: str = "", *, call: str | None = None) -> int:
        """Note a new connection or request; returns its id for `moved` and `closed`.

        Without a `call` it is assigned to the most likely one: a model's session to the call of the oldest open
        stream that has no session yet, a request to the call of the only open stream. With one call at a time that is
        always right; `belongs` corrects it when the call is known for certain.
        """
        self._last_id += 1
        certain = bool(call)
        call = self._likely_call(kind) if call is None else call
        connection = Connection(
            self._last_id, service, kind, peer, self._clock(), detail=detail, call=call, certain=certain
        )
        self._open[connection.id] = connection
        self._bytes[connection.id] = [0, 0]
        self._seen[kind] = self._seen.get(kind, 0) + 1
        return connection.id

    def moved(self, connection_id: int, *, received: int = 0, sent: int = 0) -> None:
        """Note payload bytes of an open connection."""
        moved = self._bytes.get(connection_id)
        if moved is not None:
            moved[0] += received
            moved[1] += sent

    def answered(self, connection_id: int) -> None:
        """Note that an open connection has had its answer and stays open: a WebSocket's handshake is done."""
        if connection_id in self._open:
            self._answered.add(connection_id)

    def is_waiting(self, kind: str) -> bool:
        """Whether any open connection of this kind has had no answer yet."""
        return any(c.kind == kind and c.id not in self._answered for c in self._open.values())

    def belongs(self, connection_id: int, call: str) -> None:
        """Note for certain which call an open connection belongs to.

        A connection of the same kind that was only thought to belong to that call gets the call of this one instead.
        """
        connection = self._open.get(connection_id)
        if connection is None:
            return
        for other in self._open.values():
            if other.kind == connection.kind and other.call == call and not other.certain and other is not connection:
                self._open[other.id] = replace(other, call=connection.call)
                break
        self._open[connection_id] = replace(connection, call=call, certain=True)

    def closed(self, connection_id: int, ending: str, reason: EndReason = EndReason.COMPLETED) -> None:
        """Note how (`ending`, for people) and why it ended. Ending one twice keeps the first ending."""
        connection = self._open.pop(connection_id, None)
        if connection is not None:
            ended = replace(self._with_bytes(connection), closed_at=self._clock(), ending=ending, reason=reason)
            self._ended.append(ended)
            del self._bytes[connection_id]
            self._answered.discard(connection_id)

    def still_open(self, kind: str | None = None) -> tuple[Connection, ...]:
        """The connections that have not ended, oldest first."""
        return tuple(self._with_bytes(c) for c in self._open.values() if kind is None or c.kind == kind)

    def ended(self, kind: str | None = None) -> tuple[Connection, ...]:
        """The newest connections that have ended, oldest first (at most `keep` of all kinds together)."""
        return tuple(c for c in self._ended if kind is None or c.kind == kind)

    def unanswered(self, kind: str | None = None) -> tuple[Connection, ...]:
        """Requests without an answer: the newest of those that ended without one, then those still open."""
        lost = tuple(c for c in self.ended(kind) if c.reason in (EndReason.DROPPED, EndReason.FAULT))
        return (*lost, *self.still_open(kind))

    def distinct_peers(self, kind: str) -> int:
        """How many different peers (`host:port`) there were, among the open and the newest ended connections."""
        return len({c.peer for c in (*self.ended(kind), *self.still_open(kind))})

    def seen(self, kind: str) -> int:
        """How many connections of this kind there have been in all."""
        return self._seen.get(kind, 0)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain data: {"seen": counts by kind, "open": connections, "ended": connections}."""
        return {
            "seen": dict(self._seen),
            "open": [asdict(c) for c in self.still_open()],
            "ended": [asdict(c) for c in self._ended],
        }

    def _with_bytes(self, connection: Connection) -> Connection:
        received, sent = self._bytes.get(connection.id, (0, 0))
        return replace(connection, received_bytes=received, sent_bytes=sent)

    def _likely_call(self, kind: str) -> str:
        calls = [c.call for c in self._open.values() if c.kind == "media-stream" and c.call]
        if kind == "realtime":
            taken = {c.call for c in self._open.values() if c.kind == kind}
            return next((call for call in calls if call not in taken), "")
        return calls[0] if len(calls) == 1 else ""
