"""How the caller's own connections fail: before, in the middle of, and after a request that it makes."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlencode, urlsplit

from leakline.fakes.faults import Fault, FaultPlan, Gone, Latency, Point
from leakline.fakes.faults.point import Moment

_MOMENTS: tuple[Moment, ...] = ("request", "chunk", "response")


class RequestFailedError(ConnectionError):
    """A fault has ended the caller's request."""


async def strike_request(
    faults: FaultPlan, endpoint: str, url: str, method: str, headers: dict[str, str], fields: dict[str, str]
) -> None:
    """Let what the plan has for a request of the caller's strike; returns when the request is to be made as always.

    Raises RequestFailedError when the fault ended it, and OSError when the server cannot be reached.
    """
    for moment in _MOMENTS:
        fault = faults.draw(endpoint, moment)
        if isinstance(fault, Latency):
            await fault.strike(Point(None))
        elif fault is not None:
            await _strike(fault, moment, url, _request(url, method, headers, fields), faults.gone_s)
            raise RequestFailedError(f"ended by the fault {fault.name}")


async def _strike(fault: Fault, moment: Moment, url: str, request: bytes, gone_s: float) -> None:
    """A connection of the fault's own, on which as much of the request is sent as `moment` says."""
    server = urlsplit(url)
    secure = server.scheme in ("https", "wss")
    transport, _ = await asyncio.get_running_loop().create_connection(
        asyncio.Protocol, server.hostname or "", server.port or (443 if secure else 80), ssl=secure or None
    )

    async def send(data: bytes) -> None:
        transport.write(data)

    try:
        if moment == "response":
            await send(request)
        async with asyncio.timeout(gone_s):
            await fault.strike(Point(transport, send=send, due=request if moment == "chunk" else b""))
    except (Gone, TimeoutError):
        pass
    finally:
        transport.abort()


class StreamFaults:
    """Between a caller's machine and its socket: what is said waits here while a fault strikes.

    Args:
        put: sends a message.
        close: closes the WebSocket with a code and a reason.
    """

    def __init__(
        self,
        endpoint: str,
        plan: FaultPlan,
        put: Callable[[str | bytes], None],
        close: Callable[[int, str], Awaitable[None]],
    ) -> None:
        self.fault = ""
        """The name of the fault that has ended the caller's part; empty before."""
        self._endpoint = endpoint
        self._plan = plan
        self._put = put
        self._close = close
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Queue[str | bytes | Callable[[], None]] = asyncio.Queue()
        self._is_busy = False
        self._pump: asyncio.Task[None] | None = None

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits."""
        return not self._is_busy and self._waiting.empty()

    async def begin(self, transport: asyncio.Transport, gone: Callable[[], None]) -> None:
        """Let what strikes at the opening strike, then those at messages; `gone` is called when one ends the call."""
        self._transport = transport
        if await self._goes_on("open", "", b"", gone) is not None:
            self._pump = asyncio.create_task(self._send_all(gone))

    def send(self, messages: Sequence[str | bytes]) -> None:
        """Send them in their turn."""
        for message in messages:
            self._waiting.put_nowait(message)

    def then(self, done: Callable[[], None]) -> None:
        """Call `done` when all that waits has been sent."""
        self._waiting.put_nowait(done)

    async def end(self) -> None:
        """Send nothing more."""
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)

    async def _send_all(self, gone: Callable[[], None]) -> None:
        while True:
            next_one = await self._waiting.get()
            if callable(next_one):
                next_one()
                continue
            self._is_busy = True
            sent = await self._goes_on("event", _event_of(next_one), _encoded(next_one), gone)
            self._is_busy = False
            if sent is None:
                return
            if sent:
                self._put(next_one)

    async def _goes_on(self, moment: Moment, event: str, due: bytes, gone: Callable[[], None]) -> bool | None:
        """Whether what is due is still to be sent; None when the caller's part has ended."""
        fault = self._plan.draw(self._endpoint, moment, event)
        if fault is None:
            return True

        async def close(code: int, reason: str) -> None:
            self.fault = fault.name  # before: the close handshake ends the stream
            await self._close(code, reason)

        try:
            await fault.strike(Point(self._transport, send=self._say, due=due, mute=_nothing, close=close))
        except Gone:
            self.fault = fault.name
            gone()
            return None
        return not fault.replaces

    async def _say(self, message: bytes) -> None:
        self._put(message.decode("utf-8", "replace"))


def reset(transport: asyncio.Transport) -> None:
    """End a connection with a TCP reset."""
    with contextlib.suppress(Gone):
        Point(transport).reset()


def _encoded(message: str | bytes) -> bytes:
    return message.encode() if isinstance(message, str) else message


def _event_of(message: str | bytes) -> str:
    """What kind of message it is: of a Media Stream, of a ConversationRelay, or a browser's (sound is `media`)."""
    try:
        fields = json.loads(message)
    except ValueError:
        return "media" if isinstance(message, bytes) else ""
    if not isinstance(fields, dict):
        return ""
    return str(fields.get("event") or fields.get("type") or "")


def _nothing() -> None:
    """A caller that goes silent sends nothing more by itself."""


def _request(url: str, method: str, headers: dict[str, str], fields: dict[str, str]) -> bytes:
    server = urlsplit(url)
    body = urlencode(fields).encode() if method == "POST" else b""
    target = (server.path or "/") + (f"?{server.query}" if server.query else "")
    lines = [f"{method} {target} HTTP/1.1", f"Host: {server.netloc}", f"Content-Length: {len(body)}"]
    if body:
        lines.append("Content-Type: application/x-www-form-urlencoded")
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
