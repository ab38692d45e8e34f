"""The kinds of fault: each a small record whose fields are its settings, with one method that does it."""

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
    """A way to fail."""

    name: ClassVar[str]
    """Its name in a rule's text."""
    moments: ClassVar[frozenset[Moment]] = _ANY
    """When it can strike."""
    replaces: ClassVar[bool] = False
    """Whether it sends something in place of what was due."""
    of_caller: ClassVar[bool] = True
    """Whether the end that opens a connection can fail like this too, and not only the end that answers."""

    @abstractmethod
    async def strike(self, point: Point) -> None:
        """Do it. Raises Gone when it ended the exchange, Answered when it answers the request itself."""


@dataclass(frozen=True)
class Latency(Fault):
    """The exchange is delayed. At `request` of a WebSocket: a slow handshake."""

    name = "latency"
    seconds: float = 1.0
    """Real seconds."""

    async def strike(self, point: Point) -> None:
        """Wait."""
        await point.wait(self.seconds)


# The service's own words, as in the error codes page of OpenAI's API docs.
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
    """The request is answered with an HTTP error in the service's format."""

    name = "status"
    of_caller = False
    moments = frozenset({"request"})
    code: int = 500
    """HTTP status: 401, 429, 500, 503, ..."""
    retry_after_s: float | None = None
    """Sent as the headers `retry-after` (whole seconds) and `retry-after-ms`."""

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
    """What is sent is not valid JSON: its second half is missing."""

    name = "malformed"
    moments = _SENDING
    replaces = True

    async def strike(self, point: Point) -> None:
        """Send the first half alone."""
        await point.garble()


@dataclass(frozen=True)
class Cut(Fault):
    """The connection ends in the middle of what is sent."""

    name = "cut"
    moments = _SENDING

    async def strike(self, point: Point) -> None:
        """Send half and end the connection."""
        await point.cut()


@dataclass(frozen=True)
class Close(Fault):
    """The service closes the WebSocket."""

    name = "close"
    moments = _SOCKET
    code: int = 1011
    """Close code (RFC 6455, 7.4): 1011 is an internal error."""
    reason: str = ""

    async def strike(self, point: Point) -> None:
        """Close it."""
        await point.close(self.code, self.reason)


@dataclass(frozen=True)
class Reset(Fault):
    """The connection ends with a TCP reset."""

    name = "reset"

    async def strike(self, point: Point) -> None:
        """Reset it."""
        point.reset()


@dataclass(frozen=True)
class BlackHole(Fault):
    """Nothing more is ever sent; what the client sends is still read."""

    name = "black_hole"

    async def strike(self, point: Point) -> None:
        """Send nothing more."""
        await point.hang()


@dataclass(frozen=True)
class HalfOpen(Fault):
    """Nothing more is read or sent, and the connection stays open, even when the client has closed its end."""

    name = "half_open"

    async def strike(self, point: Point) -> None:
        """Send and read nothing more."""
        await point.half_open()


@dataclass(frozen=True)
class SlowRead(Fault):
    """Nothing is read for a while: the client gets back pressure."""

    name = "slow_read"
    moments = _SOCKET
    seconds: float = 5.0
    """Real seconds."""

    async def strike(self, point: Point) -> None:
        """Stop reading for a while."""
        await point.slow_read(self.seconds)


@dataclass(frozen=True)
class Oversize(Fault):
    """A WebSocket message is sent that is larger than most clients accept (1 MiB by default in `websockets`)."""

    name = "oversize"
    moments = _SOCKET
    size_bytes: int = 2 * 1024 * 1024
    """Length of its padding; the message is somewhat longer."""

    async def strike(self, point: Point) -> None:
        """Send it before what was due."""
        event = {
            "type": "leakline.oversize",
            "event": "leakline.oversize",
            "event_id": "event_0",
            "pad": "x" * self.size_bytes,
        }
        await point.say(json.dumps(event).encode())


@dataclass(frozen=True)
class Error(Fault):
    """The Realtime service sends an `error` event (the SDK's `RealtimeError`); the session stays open."""

    name = "error"
    of_caller = False
    moments = _SOCKET
    code: str = ""
    """The error's `code`; null when empty."""
    message: str = "The server had an error while processing your request. Sorry about that!"

    async def strike(self, point: Point) -> None:
        """Send the event before what was due."""
        await point.say(_error_event("server_error", self.code or None, self.message))


@dataclass(frozen=True)
class ExpireSession(Fault):
    """The Realtime session has reached its maximum duration: an `error` event, then a close with code 1001."""

    name = "expire_session"
    of_caller = False
    moments = _SOCKET

    async def strike(self, point: Point) -> None:
        """Send the event and close."""
        message = "Your session hit the maximum duration of 60 minutes."
        await point.say(_error_event("invalid_request_error", "session_expired", message))
        await point.close(1001, message)


def _error_event(kind: str, code: str | None, message: str) -> bytes:
    error = {"type": kind, "code": code, "message": message, "param": None, "event_id": None}
    return json.dumps({"type": "error", "event_id": "event_0", "error": error}).encode()


@dataclass(frozen=True)
class Refuse(Fault):
    """The port accepts no connections for a while; this one is reset."""

    name = "refuse"
    of_caller = False
    seconds: float = 1.0
    """Real seconds."""

    async def strike(self, point: Point) -> None:
        """Close the port for a while and reset the connection."""
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
