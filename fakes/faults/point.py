"""Where a fault strikes: one moment of one exchange, and everything that can be done to the exchange there.

A fake makes a point for each moment at which a fault may strike; the fault calls one of its methods. The point knows
how to act on the transport, the fault knows what to do, and neither knows the other's class.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Literal, NoReturn

Moment = Literal["request", "response", "chunk", "open", "event"]
"""When a fault can strike.

`request`: a request, or a WebSocket's handshake, has arrived. `response`: a whole answer is about to be sent.
`chunk`: a piece of a streamed answer is about to be sent. `open`: a WebSocket has been accepted. `event`: a WebSocket
message is about to be sent. For a request that Twilio makes, `request` is before anything is sent, `chunk` in the
middle of sending it, and `response` after it was sent and before the answer is read."""

_POLL_S = 0.05
"""How often it is looked up whether the client of a silent connection has closed it, in real seconds."""


class Gone(Exception):  # noqa: N818  (not an error: the fault has ended the exchange)
    """The fault has ended the connection, or it will never be answered."""


class Answered(Exception):  # noqa: N818
    """The fault answers the request itself: with an HTTP status, the fields of the service's error, and headers."""

    def __init__(self, status: int, *, kind: str, code: str | None, message: str, headers: Mapping[str, str]) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.code = code
        self.headers = dict(headers)


class Point:
    """One moment of one exchange. Seconds are real seconds, whatever the speed of the calls.

    Args:
        send: sends bytes in place of what is due, or before it: a body, a chunk of a stream, a WebSocket message.
        due: what is about to be sent.
        mute: makes a WebSocket send nothing more while it still reads; None over plain HTTP.
        close: closes a WebSocket with a code and a reason; None over plain HTTP.
        refuse: stops the port from accepting connections for so many seconds.
    """

    def __init__(
        self,
        transport: asyncio.Transport | None,
        *,
        send: Callable[[bytes], Awaitable[None]] | None = None,
        due: bytes = b"",
        mute: Callable[[], None] | None = None,
        close: Callable[[int, str], Awaitable[None]] | None = None,
        refuse: Callable[[float], Awaitable[None]] | None = None,
    ) -> None:
        self._transport = transport
        self._send = send
        self._due = due
        self._mute = mute
        self._close = close
        self._refuse = refuse

    async def wait(self, seconds: float) -> None:
        """Delay the exchange."""
        await asyncio.sleep(seconds)

    def reset(self) -> NoReturn:
        """End the connection with a TCP reset. Raises Gone."""
        if self._transport is not None:
            raw = self._transport.get_extra_info("socket")
            if raw is not None:
                with suppress(OSError):
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
        raise Gone

    async def hang(self) -> NoReturn:
        """Send nothing more; a WebSocket is still read, a request waits until its client has closed. Raises Gone."""
        if self._mute is not None:
            self._mute()
            raise Gone
        while self._transport is not None and not self._transport.is_closing():  # noqa: ASYNC110
            await asyncio.sleep(_POLL_S)
        raise Gone

    async def half_open(self) -> NoReturn:
        """Send and read nothing more, so that not even the peer's close is noticed. Raises Gone."""
        self._pause()
        await self.hang()

    async def slow_read(self, seconds: float) -> None:
        """Read nothing for a while, so that the peer's buffers fill; sending is not affected."""
        self._pause()
        asyncio.get_running_loop().call_later(seconds, self._resume)

    async def cut(self) -> NoReturn:
        """Send half of what is due and end the connection. Raises Gone."""
        await self.garble()
        if self._transport is not None:
            self._transport.close()
        raise Gone

    async def garble(self) -> None:
        """Send the first half of what is due as if it were all of it."""
        if self._send is not None:
            await self._send(self._due[: max(1, len(self._due) // 2)])

    async def say(self, message: bytes) -> None:
        """Send a message of the fault's own before what is due."""
        if self._send is not None:
            await self._send(message)

    async def close(self, code: int, reason: str) -> NoReturn:
        """Close a WebSocket with a code; over plain HTTP, cut the answer. Raises Gone."""
        if self._close is None:
            await self.cut()
        await self._close(code, reason)
        raise Gone

    async def refuse(self, seconds: float) -> NoReturn:
        """Accept no connections for a while, and reset this one. Raises Gone."""
        if self._refuse is not None:
            await self._refuse(seconds)
        self.reset()

    def _pause(self) -> None:
        if self._transport is not None:
            with suppress(RuntimeError):
                self._transport.pause_reading()

    def _resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            with suppress(RuntimeError):
                self._transport.resume_reading()
