"""How Twilio's own requests and streams fail: before, in the middle of, or after what it sends."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlencode, urlsplit

from leakline.fakes.faults import Fault, FaultPlan, Gone, Latency, Point
from leakline.fakes.faults.point import Moment

_MOMENTS: tuple[Moment, ...] = ("request", "chunk", "response")
"""When a fault can strike at a request, in order of time."""


class RequestFailedError(ConnectionError):
    """A fault has ended Twilio's request."""


async def strike_request(
    faults: FaultPlan, endpoint: str, url: str, method: str, headers: dict[str, str], fields: dict[str, str]
) -> None:
    """Let the plan's faults strike at a request of Twilio's; returns when it is to be made as usual.

    A fault other than latency sends a request of its own, broken off where it strikes.

    Raises RequestFailedError when a fault has ended the request, OSError when the server cannot be reached.
    """
    for moment in _MOMENTS:
        fault = faults.draw(endpoint, moment)
        if isinstance(fault, Latency):
            await fault.strike(Point(None))
        elif fault is not None:
            await _strike(fault, moment, url, _request(url, method, headers, fields), faults.gone_s)
            raise RequestFailedError(f"ended by the fault {fault.name}")


async def _strike(fault: Fault, moment: Moment, url: str, request: bytes, gone_s: float) -> None:
    """Open a connection, send as much of the request as belongs before `moment`, and let the fault strike."""
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
    """The queue between a caller's machine and its socket: messages wait here while a fault strikes.

    Args:
        put: sends a message on the socket.
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
        """The name of the fault that has ended the stream on the caller's side; empty before."""
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
        """Whether no message waits."""
        return not self._is_busy and self._waiting.empty()

    async def begin(self, transport: asyncio.Transport, gone: Callable[[], None]) -> None:
        """Let a fault strike at the opening, and then at messages. `gone` is called when one ends the stream."""
        self._transport = transport
        if await self._strike_if_due("open", "", b"", gone) is not None:
            self._pump = asyncio.create_task(self._send_all(gone))

    def send(self, messages: Sequence[str | bytes]) -> None:
        """Queue messages to be sent in order."""
        for message in messages:
            self._waiting.put_nowait(message)

    def then(self, done: Callable[[], None]) -> None:
        """Call `done` when all messages queued so far have been sent."""
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
            sent = await self._strike_if_due("event", _event_of(next_one), _encoded(next_one), gone)
            self._is_busy = False
            if sent is None:
                return
            if sent:
                self._put(next_one)

    async def _strike_if_due(self, moment: Moment, event: str, due: bytes, gone: Callable[[], None]) -> bool | None:
        """Let a fault strike, if one is due: whether `due` is still to be sent, or None when the stream has ended."""
        fault = self._plan.draw(self._endpoint, moment, event)
        if fault is None:
            return True

        async def close(code: int, reason: str) -> None:
            self.fault = fault.name  # set before the close handshake, which ends the stream
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
    """The type of a message of a Media Stream, a ConversationRelay or a browser (whose binary audio is `media`)."""
    try:
        fields = json.loads(message)
    except ValueError:
        return "media" if isinstance(message, bytes) else ""
    if not isinstance(fields, dict):
        return ""
    return str(fields.get("event") or fields.get("type") or "")


def _nothing() -> None:
    """Muting needs nothing here: the caller sends nothing more by itself once `gone` was called."""


def _request(url: str, method: str, headers: dict[str, str], fields: dict[str, str]) -> bytes:
    """The bytes of an HTTP/1.1 request; `fields` are the form of a POST."""
    server = urlsplit(url)
    body = urlencode(fields).encode() if method == "POST" else b""
    target = (server.path or "/") + (f"?{server.query}" if server.query else "")
    lines = [f"{method} {target} HTTP/1.1", f"Host: {server.netloc}", f"Content-Length: {len(body)}"]
    if body:
        lines.append("Content-Type: application/x-www-form-urlencoded")
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
