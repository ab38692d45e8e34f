"""Where a fault strikes: one moment of one exchange, and all that can be done to it there.

A server makes a point for each moment that a fault may strike at; a fault calls one of its methods. The point knows
the transport, the fault knows what it wants, and neither knows the other's kind.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Literal, NoReturn

Moment = Literal["request", "response", "chunk", "open", "event"]
"""`request`: it has arrived, a WebSocket's handshake too. `response`: a whole answer is about to go out.
`chunk`: a piece of a streamed one is. `open`: a WebSocket has been accepted. `event`: one of its messages is about
to go out. Of what Twilio opens itself: `request` is before anything is sent, `chunk` in the middle of the request,
`response` after it and before the answer is read."""

_POLL_S = 0.05


class Gone(Exception):  # noqa: N818  (not an error: the fault has ended the exchange)
    """The connection has been ended, or is never to be answered."""


class Answered(Exception):  # noqa: N818
    """The fault has an answer of its own for the request: an HTTP status, the service's error, and headers."""

    def __init__(self, status: int, *, kind: str, code: str | None, message: str, headers: Mapping[str, str]) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.code = code
        self.headers = dict(headers)


class Point:
    """One moment of one exchange. Seconds are real seconds, whatever the speed of the calls.

    Args:
        send: sends bytes in place of, or before, what is due: of a body, of a stream, a WebSocket message.
        due: what is about to go out.
        mute: makes a WebSocket say nothing more while it reads on; None over plain HTTP.
        close: closes a WebSocket with a code; None over plain HTTP.
        refuse: stops the port from taking connections for so many seconds.
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
        """Do nothing for a while, then go on as if nothing had been."""
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
        """Say nothing more; a WebSocket reads on, a request waits until its client has gone. Raises Gone."""
        if self._mute is not None:
            self._mute()
            raise Gone
        while self._transport is not None and not self._transport.is_closing():  # noqa: ASYNC110
            await asyncio.sleep(_POLL_S)
        raise Gone

    async def half_open(self) -> NoReturn:
        """Say nothing more and read nothing more, not even the peer's end of the connection. Raises Gone."""
        self._pause()
        await self.hang()

    async def slow_read(self, seconds: float) -> None:
        """Read nothing for a while, so that the peer's buffers fill; what is said goes on."""
        self._pause()
        asyncio.get_running_loop().call_later(seconds, self._resume)

    async def cut(self) -> NoReturn:
        """Send half of what is due and end the connection. Raises Gone."""
        await self.garble()
        if self._transport is not None:
            self._transport.close()
        raise Gone

    async def garble(self) -> None:
        """Send the first half of what is due, as if it were the whole."""
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
        """Take no connection for a while, and reset this one. Raises Gone."""
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
