"""The kinds of fault: each a small record whose fields are its settings, with one thing that it does."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from leakline.fakes.faults.point import Answered, Moment, Point

_ANY: frozenset[Moment] = frozenset({"request", "response", "chunk", "open", "event"})
_SENDING: frozenset[Moment] = frozenset({"response", "chunk", "event"})
_SOCKET: frozenset[Moment] = frozenset({"open", "event"})


@dataclass(frozen=True)
class Fault(ABC):
    """A way to fail. `name` is what it is called in text, `moments` is where it can strike."""

    name: ClassVar[str]
    moments: ClassVar[frozenset[Moment]] = _ANY
    replaces: ClassVar[bool] = False
    """Whether it sends something in place of what was due."""
    of_caller: ClassVar[bool] = True
    """Whether the end that calls can fail so too, and not only the end that answers."""

    @abstractmethod
    async def strike(self, point: Point) -> None:
        """Do it. Raises Gone or Answered when the exchange does not go on."""


@dataclass(frozen=True)
class Latency(Fault):
    """The exchange goes on later. At `request` of a WebSocket: a slow handshake."""

    name = "latency"
    seconds: float = 1.0

    async def strike(self, point: Point) -> None:
        """Wait."""
        await point.wait(self.seconds)


_STATUS: dict[int, tuple[str, str | None, str]] = {
    400: ("invalid_request_error", None, "Bad request."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    403: (
        "invalid_request_error",
        "unsupported_country_region_territory",
        "Country, region, or territory not supported",
    ),
    404: ("invalid_request_error", "model_not_found", "The model does not exist or you do not have access to it."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached. Please try again later."),
    500: ("server_error", None, "The server had an error while processing your request. Sorry about that!"),
    503: ("server_error", None, "The engine is currently overloaded, please try again later"),
}


@dataclass(frozen=True)
class Status(Fault):
    """The request is answered with an HTTP error, of the service's form: 401, 429, 500, 503, ..."""

    name = "status"
    of_caller = False
    moments = frozenset({"request"})
    code: int = 500
    retry_after_s: float | None = None
    """Sent as `retry-after` and `retry-after-ms`."""

    async def strike(self, point: Point) -> None:
        """Answer."""
        kind, code, message = _STATUS.get(self.code, ("server_error", None, "An error occurred."))
        headers = {}
        if self.retry_after_s is not None:
            headers = {
                "retry-after": str(max(0, round(self.retry_after_s))),
                "retry-after-ms": str(round(1000 * self.retry_after_s)),
            }
        raise Answered(self.code, kind=kind, code=code, message=message, headers=headers)


@dataclass(frozen=True)
class Malformed(Fault):
    """What is sent is not JSON: its last half is missing."""

    name = "malformed"
    moments = _SENDING
    replaces = True

    async def strike(self, point: Point) -> None:
        """Garble."""
        await point.garble()


@dataclass(frozen=True)
class Cut(Fault):
    """The connection ends in the middle of what is sent."""

    name = "cut"
    moments = _SENDING

    async def strike(self, point: Point) -> None:
        """Cut."""
        await point.cut()


@dataclass(frozen=True)
class Close(Fault):
    """The service closes the WebSocket."""

    name = "close"
    moments = _SOCKET
    code: int = 1011
    reason: str = ""

    async def strike(self, point: Point) -> None:
        """Close."""
        await point.close(self.code, self.reason)


@dataclass(frozen=True)
class Reset(Fault):
    """The connection ends with a TCP reset."""

    name = "reset"

    async def strike(self, point: Point) -> None:
        """Reset."""
        point.reset()


@dataclass(frozen=True)
class BlackHole(Fault):
    """Nothing more is ever said; what the client sends is still taken off the wire."""

    name = "black_hole"

    async def strike(self, point: Point) -> None:
        """Hang."""
        await point.hang()


@dataclass(frozen=True)
class HalfOpen(Fault):
    """Nothing more is read or said, and the connection stays, even when the client has gone."""

    name = "half_open"

    async def strike(self, point: Point) -> None:
        """Hang without reading."""
        await point.half_open()


@dataclass(frozen=True)
class SlowRead(Fault):
    """Nothing is read for a while: the client meets back pressure."""

    name = "slow_read"
    moments = _SOCKET
    seconds: float = 5.0

    async def strike(self, point: Point) -> None:
        """Stop reading for a while."""
        await point.slow_read(self.seconds)


@dataclass(frozen=True)
class Oversize(Fault):
    """A WebSocket message comes that is larger than most clients take (1 MiB by default in `websockets`)."""

    name = "oversize"
    moments = _SOCKET
    size_bytes: int = 2 * 1024 * 1024

    async def strike(self, point: Point) -> None:
        """Say much."""
        event = {
            "type": "leakline.oversize",
            "event": "leakline.oversize",
            "event_id": "event_0",
            "pad": "x" * self.size_bytes,
        }
        await point.say(json.dumps(event).encode())


@dataclass(frozen=True)
class Error(Fault):
    """The Realtime service says that it has a problem (the SDK's `RealtimeError`); the session stays open."""

    name = "error"
    of_caller = False
    moments = _SOCKET
    code: str = ""
    message: str = "The server had an error while processing your request. Sorry about that!"

    async def strike(self, point: Point) -> None:
        """Say so before what was due."""
        await point.say(_error_event("server_error", self.code or None, self.message))


@dataclass(frozen=True)
class ExpireSession(Fault):
    """The Realtime session has come to its longest duration: an error event, and the close."""

    name = "expire_session"
    of_caller = False
    moments = _SOCKET

    async def strike(self, point: Point) -> None:
        """Say so and close."""
        message = "Your session hit the maximum duration of 60 minutes."
        await point.say(_error_event("invalid_request_error", "session_expired", message))
        await point.close(1001, message)


def _error_event(kind: str, code: str | None, message: str) -> bytes:
    error = {"type": kind, "code": code, "message": message, "param": None, "event_id": None}
    return json.dumps({"type": "error", "event_id": "event_0", "error": error}).encode()


@dataclass(frozen=True)
class Refuse(Fault):
    """The port takes no connections for a while; this one is reset."""

    name = "refuse"
    of_caller = False
    seconds: float = 1.0

    async def strike(self, point: Point) -> None:
        """Refuse."""
        await point.refuse(self.seconds)


KINDS: dict[str, type[Fault]] = {
    kind.name: kind
    for kind in (
        Latency,
        Status,
        Malformed,
        Cut,
        Close,
        Reset,
        BlackHole,
        HalfOpen,
        SlowRead,
        Oversize,
        Error,
        ExpireSession,
        Refuse,
    )
}
"""Every kind of fault, by name."""
