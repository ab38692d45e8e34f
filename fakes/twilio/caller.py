"""The I/O shell of a Media Stream: opens the WebSocket as Twilio does and keeps the 20 ms beat.

What is said and when is a `StreamDriver`'s business; this file only moves messages and time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from aiohttp import (
    ClientError,
    ClientResponse,
    ClientSession,
    ClientWebSocketResponse,
    ClientWSTimeout,
    WSMsgType,
    WSServerHandshakeError,
)

from fakes.audio import FRAME_S
from fakes.faults import FaultPlan, Gone, Point
from fakes.ledger import Ledger
from fakes.twilio.failing import GONE_S, strike_request

Goodbye = Literal["stop", "reset"]
"""How the caller ends the stream: with a close handshake, or with a TCP reset."""

EndKind = Literal["caller", "server", "refused"]

ENDPOINT = "media-stream"
"""What a stream is called in the ledger and in faults."""

_HANDSHAKE_S = 15.0
_CLOSE_S = 2.0
_MOST_LATE_FRAMES = 5


@dataclass(frozen=True)
class CallEnd:
    """How a stream ended: by the `caller`, by the `server`, or `refused` before it began."""

    kind: EndKind
    detail: str = ""


class StreamDriver(Protocol):
    """A Sans-I/O machine that plays one caller; time is seconds of call time from the stream's start."""

    goodbye: Goodbye | None
    """Set when the caller wants to end the call."""

    def begin(self) -> list[str]:
        """The first messages."""

    def tick(self, now: float) -> list[str]:
        """The messages of the frame that is due `now`."""

    def receive(self, message: str | bytes, now: float) -> list[str]:
        """Take a message of the server; returns the messages that answer it."""

    def stop(self) -> list[str]:
        """The messages that end the stream when the call is ended from outside."""


@dataclass
class Pace:
    """How fast calls are played; it may be changed while they are."""

    speed: float = 1.0
    """Call seconds per second."""


class StreamCaller:
    """Makes calls to one server.

    Args:
        url: the server's Media Streams WebSocket, `ws://` or `wss://`.
        pace: how fast; by default as fast as real calls are.
        headers: of the WebSocket upgrade, such as Twilio's signature.
        faults: how the caller's own end of the stream fails.
    """

    def __init__(
        self,
        url: str,
        ledger: Ledger,
        *,
        pace: Pace | None = None,
        headers: Mapping[str, str] | None = None,
        faults: FaultPlan | None = None,
    ) -> None:
        self._faults = faults or FaultPlan()
        self._url = url
        self._ledger = ledger
        self._pace = pace or Pace()
        self._headers = dict(headers or {})

    async def call(self, driver: StreamDriver, call_sid: str = "") -> CallEnd:
        """Make one call and stay on the line until either end has ended it."""
        entry = self._ledger.opened("twilio", ENDPOINT, self._url, call=call_sid)
        end = CallEnd("caller", "abandoned")
        try:
            async with ClientSession(ws_response_class=_Socket) as http:
                end = await self._call(http, driver, entry)
        finally:
            self._ledger.closed(entry, f"{end.kind} {end.detail}".strip())
        return end

    async def _call(self, http: ClientSession, driver: StreamDriver, entry: int) -> CallEnd:
        try:
            await strike_request(self._faults, ENDPOINT, self._url, "GET", self._headers, {})
            async with asyncio.timeout(_HANDSHAKE_S):
                websocket = await http.ws_connect(
                    self._url, headers=self._headers, max_msg_size=0, timeout=ClientWSTimeout(ws_close=_CLOSE_S)
                )
        except WSServerHandshakeError as error:
            return CallEnd("refused", f"HTTP {error.status}")
        except TimeoutError:
            return CallEnd("refused", f"no WebSocket handshake in {_HANDSHAKE_S:.0f} s")
        except (ClientError, OSError) as error:
            number = getattr(error, "errno", None)
            return CallEnd("refused", os.strerror(number).lower() if number else str(error) or type(error).__name__)
        line = _Line(websocket, driver, self._pace, self._faults)
        try:
            return await line.talk()
        finally:
            self._ledger.moved(entry, received=line.received_bytes, sent=line.sent_bytes)


class _Socket(ClientWebSocketResponse):
    """A client's WebSocket that shows its transport: faults strike there."""

    def __init__(
        self, reader: Any, writer: Any, protocol: Any, response: ClientResponse, *rest: Any, **more: Any
    ) -> None:
        super().__init__(reader, writer, protocol, response, *rest, **more)
        connection = response.connection
        self.transport = connection.transport if connection is not None else None


class _Line:
    """One open stream: a task that listens beside the beat that speaks."""

    def __init__(
        self,
        websocket: ClientWebSocketResponse,
        driver: StreamDriver,
        pace: Pace,
        faults: FaultPlan,
    ) -> None:
        self._transport = websocket.transport if isinstance(websocket, _Socket) else None
        self._faults = faults
        self._fault = ""
        self._websocket = websocket
        self._driver = driver
        self._pace = pace
        self.received_bytes = 0
        self.sent_bytes = 0
        self._now = 0.0
        """Call time; it moves with the beat, so a late machine slows the call and never skips audio."""

    async def talk(self) -> CallEnd:
        """Speak and listen until either end has ended the stream."""
        listener = asyncio.create_task(self._listen())
        try:
            await self._strike("open", "", b"")
            await self._send(self._driver.begin())
            await self._beat(listener)
            if listener.done():
                return listener.result()
            return await self._hang_up()
        except Gone:
            return await self._be_gone(listener)
        except ConnectionError:
            # The listener sees the same end of the line, and says how it came.
            return await asyncio.wait_for(listener, _CLOSE_S)
        except asyncio.CancelledError:
            with contextlib.suppress(ConnectionError, Gone):
                await self._send(self._driver.stop())
            raise
        finally:
            listener.cancel()
            await self._websocket.close()

    async def _beat(self, listener: asyncio.Task[CallEnd]) -> None:
        clock = asyncio.get_running_loop().time
        due = clock()
        while self._driver.goodbye is None and not listener.done():
            await self._send(self._driver.tick(self._now))
            self._now += FRAME_S
            interval_s = FRAME_S / self._pace.speed
            due = max(due + interval_s, clock() - _MOST_LATE_FRAMES * interval_s)
            await asyncio.sleep(max(0.0, due - clock()))

    async def _hang_up(self) -> CallEnd:
        if self._driver.goodbye == "reset":
            self._reset()
            return CallEnd("caller", "reset")
        await self._websocket.close()
        return CallEnd("caller", "hung up")

    def _reset(self) -> None:
        with contextlib.suppress(Gone):
            Point(self._transport).reset()

    async def _strike(self, moment: Literal["open", "event"], event: str, due: bytes) -> bool:
        """Let a fault of the caller's end strike; whether what is due is still to be sent. Raises Gone."""
        fault = self._faults.draw(ENDPOINT, moment, event)
        if fault is None:
            return True
        self._fault = fault.name
        point = Point(self._transport, send=self._say, due=due, mute=_nothing, close=self._close)
        await fault.strike(point)
        return not fault.replaces

    async def _be_gone(self, listener: asyncio.Task[CallEnd]) -> CallEnd:
        """After a fault that ended the caller's part: what still lies open is reset after a while."""
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GONE_S):
                async for _ in self._websocket:
                    pass  # heard, and never answered
        if not self._websocket.closed:
            self._reset()
        return CallEnd("caller", f"fault {self._fault}")

    async def _say(self, message: bytes) -> None:
        await self._websocket.send_str(message.decode("utf-8", "replace"))

    async def _close(self, code: int, reason: str) -> None:
        await self._websocket.close(code=code, message=reason.encode())

    async def _listen(self) -> CallEnd:
        async for message in self._websocket:
            if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                self.received_bytes += len(message.data)
                await self._send(self._driver.receive(message.data, self._now))
        code = self._websocket.close_code
        return CallEnd("server", "dropped the connection" if code in (None, 1006) else f"closed {code}")

    async def _send(self, messages: list[str]) -> None:
        for message in messages:
            if not self._faults.is_empty and not await self._strike("event", _event_of(message), message.encode()):
                continue
            self.sent_bytes += len(message)
            await self._websocket.send_str(message)


def _event_of(message: str) -> str:
    """What kind of message of Twilio's it is, of a Media Stream or of a ConversationRelay."""
    fields = json.loads(message)
    return str(fields.get("event") or fields.get("type") or "")


def _nothing() -> None:
    """A caller that goes silent sends nothing more by itself."""
