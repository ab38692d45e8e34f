"""The I/O shell of a Media Stream: opens the WebSocket as Twilio does and keeps the 20 ms beat.

A `StreamDriver` decides what is said and when; this file only moves messages and time. It is made for many calls on
one core: a call has no task of its own for sending, shares its timer with the calls due at the same time, and awaits
nothing between the beat and the socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from picows import WSFrame, WSHandshakeError, WSListener, WSMsgType, WSTransport, ws_connect

from leakline.fakes.audio import FRAME_S
from leakline.fakes.faults import FaultPlan
from leakline.fakes.ledger import EndReason, Ledger
from leakline.fakes.twilio.beat import Pace
from leakline.fakes.twilio.failing import RequestFailedError, StreamFaults, reset, strike_request

Goodbye = Literal["stop", "reset"]
"""How the caller ends the stream: with a close handshake, or with a TCP reset."""

EndKind = Literal["caller", "server", "refused"]
"""Who ended a stream: the caller, the server, or the server before it began."""

ENDPOINT = "media-stream"
"""The name of streams in the ledger and in fault rules."""

_HANDSHAKE_S = 15.0
"""Real seconds that a server has for the WebSocket's handshake."""
_CLOSE_S = 2.0
"""Real seconds that a server has to answer a close frame, before the connection is reset."""
_MOST_MESSAGE_BYTES = 64 * 1024 * 1024
"""Largest message of the server that is accepted."""
_NORMAL_CLOSURE, _NO_CODE, _ABNORMAL = 1000, 1005, 1006
"""Close codes of RFC 6455, 7.4.1; the last two are never sent, they stand for a missing code and a missing close."""
_TEXT, _BINARY = WSMsgType.TEXT, WSMsgType.BINARY
_LOG = logging.getLogger("leakline.stream")
_LOG.setLevel(logging.ERROR)  # it logs each connection; what matters of that is in CallEnd


@dataclass(frozen=True)
class StreamStats:
    """Times and sizes of one stream: real seconds, payload bytes."""

    open_s: float | None = None
    """From connecting to the end of the WebSocket's handshake; None without one."""
    close_s: float | None = None
    """From the caller's hang-up to the connection's end; None when the server ended it."""
    received_bytes: int = 0
    sent_bytes: int = 0


@dataclass(frozen=True)
class CallEnd:
    """How a stream ended."""

    kind: EndKind
    detail: str = ""
    """How in words: `hung up`, `closed 1011`, `HTTP 503`."""
    stats: StreamStats = field(default=StreamStats(), compare=False)


class StreamDriver(Protocol):
    """A Sans-I/O machine that plays one caller; `now` is seconds of call time from the stream's start."""

    goodbye: Goodbye | None
    """How the caller wants to end the call; None while it goes on."""

    def begin(self) -> Sequence[str | bytes]:
        """The first messages."""

    def tick(self, now: float) -> Sequence[str | bytes]:
        """The messages of the frame that is due `now`."""

    def receive(self, message: str | bytes, now: float) -> Sequence[str | bytes]:
        """Take a message of the server; returns the messages that answer it."""

    def stop(self) -> Sequence[str | bytes]:
        """The messages that end the stream when the call is ended from outside."""


class StreamCaller:
    """Makes calls to one server.

    Args:
        url: the server's Media Streams WebSocket, `ws://` or `wss://`.
        pace: how fast the calls are played; by default at the speed of real calls.
        headers: HTTP headers of the WebSocket upgrade, such as Twilio's signature.
        faults: how the caller's end of the stream fails.
        endpoint: the name of its streams in the ledger and in fault rules.
    """

    def __init__(
        self,
        url: str,
        ledger: Ledger,
        *,
        pace: Pace | None = None,
        headers: Mapping[str, str] | None = None,
        faults: FaultPlan | None = None,
        endpoint: str = ENDPOINT,
    ) -> None:
        self._endpoint = endpoint
        self._faults = faults or FaultPlan()
        self._url = url
        self._ledger = ledger
        self._pace = pace or Pace()
        self._headers = dict(headers or {})

    async def call(self, driver: StreamDriver, call_sid: str = "") -> CallEnd:
        """Make one call, and wait until either side has ended it."""
        entry = self._ledger.opened("twilio", self._endpoint, self._url, call=call_sid)
        end = CallEnd("caller", "abandoned")
        try:
            end = await self._call(driver, entry)
        finally:
            reason = EndReason.FAILED if end.kind == "refused" else EndReason.COMPLETED
            self._ledger.closed(entry, f"{end.kind} {end.detail}".strip(), reason)
        return end

    async def _call(self, driver: StreamDriver, entry: int) -> CallEnd:
        connection = _StreamConnection(driver, self._pace, self._faults, self._endpoint)
        began = time.monotonic()
        try:
            await strike_request(self._faults, self._endpoint, self._url, "GET", self._headers, {})
            async with asyncio.timeout(_HANDSHAKE_S):
                await ws_connect(
                    lambda: connection,
                    self._url,
                    extra_headers=self._headers,
                    websocket_handshake_timeout=None,
                    max_frame_size=_MOST_MESSAGE_BYTES,
                    use_aiofastnet=False,  # measured as no faster here, and faults need asyncio's own transports
                    logger_name=_LOG,
                )
        except WSHandshakeError as error:
            return CallEnd("refused", _refusal(error))
        except TimeoutError:
            return CallEnd("refused", f"no WebSocket handshake in {_HANDSHAKE_S:.0f} s")
        except RequestFailedError as error:
            return CallEnd("refused", str(error))
        except OSError as error:
            return CallEnd("refused", os.strerror(error.errno).lower() if error.errno else str(error))
        if not connection.is_connected:
            return CallEnd("refused", "the server disconnected")
        open_s = time.monotonic() - began
        try:
            end = await connection.talk()
        finally:
            self._ledger.moved(entry, received=connection.received_bytes, sent=connection.sent_bytes)
        close_s = time.monotonic() - connection.over_at if end.kind == "caller" else None
        return replace(end, stats=StreamStats(open_s, close_s, connection.received_bytes, connection.sent_bytes))


def _refusal(error: WSHandshakeError) -> str:
    """What a server answered instead of the upgrade: its HTTP status, if it sent one of any version of HTTP."""
    status = re.match(rb"HTTP/\S+ (\d{3})", error.raw_header or b"")
    return f"HTTP {status[1].decode()}" if status else "it does not answer as a WebSocket server"


class _StreamConnection(WSListener):
    """The WebSocket of one stream; picows calls its `on_ws_*` and `*_writing` methods."""

    __slots__ = (
        "_beat_at",
        "_close_code",
        "_driver",
        "_ended",
        "_faults",
        "_gone_s",
        "_is_full",
        "_is_silent",
        "_now",
        "_pace",
        "_parts",
        "_reset_later",
        "_transport",
        "is_connected",
        "over_at",
        "received_bytes",
        "sent_bytes",
    )

    _transport: WSTransport

    def __init__(self, driver: StreamDriver, pace: Pace, faults: FaultPlan, endpoint: str) -> None:
        self._driver = driver
        self._pace = pace
        self._gone_s = faults.gone_s
        self._faults = None if faults.is_empty else StreamFaults(endpoint, faults, self._put, self._close)
        self.is_connected = False
        self._ended: asyncio.Future[CallEnd] = asyncio.get_running_loop().create_future()
        self._parts: list[bytes] = []
        self._reset_later: asyncio.TimerHandle | None = None
        self._is_silent = False
        self._is_full = False
        self._close_code = _ABNORMAL
        self.received_bytes = 0
        self.sent_bytes = 0
        self.over_at = 0.0
        # Call time of the next beat. It advances with each beat, so that a machine which cannot keep up slows the
        # call down and skips no audio.
        self._now = 0.0
        self._beat_at = 0.0

    async def talk(self) -> CallEnd:
        """Send and receive until either side has ended the stream."""
        try:
            if self._faults is not None:
                await self._faults.begin(self._transport.underlying_transport, self._be_gone)
            if not self._is_silent:
                self._send(self._driver.begin())
                self._beat_at = time.monotonic()
                self._pace.join(self)
            return await self._ended
        except asyncio.CancelledError:
            if not self._is_silent:
                self._send(self._driver.stop())
            raise
        finally:
            self._is_silent = True
            self._pace.leave(self)
            await self._hang_up()

    # Called by picows.

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        self.is_connected = True

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if kind == _TEXT and frame.fin and not self._parts:
            self._receive(frame.get_payload_as_bytes())
        elif kind == WSMsgType.CLOSE:
            code = frame.get_payload_as_bytes()[:2]
            self._close_code = int.from_bytes(code, "big") if code else _NO_CODE
            if not transport.is_close_frame_sent:
                transport.send(WSMsgType.CLOSE, code)
            transport.disconnect()
        elif kind in (_TEXT, _BINARY, WSMsgType.CONTINUATION):
            self._parts.append(frame.get_payload_as_bytes())
            if frame.fin:
                message = b"".join(self._parts)
                self._parts = []
                self._receive(message)

    def on_ws_disconnected(self, _transport: WSTransport) -> None:
        gone = self._close_code in (_ABNORMAL, _NO_CODE)
        if self._faults is not None and self._faults.fault:
            self._over(CallEnd("caller", f"fault {self._faults.fault}"))
            return
        self._over(CallEnd("server", "dropped the connection" if gone else f"closed {self._close_code}"))

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False

    # Messages and beats.

    def beat(self, now: float) -> None:
        """Send the next frame, unless back pressure or a fault holds the stream up: call time stands still then."""
        if self._is_silent or self._is_full or (self._faults is not None and not self._faults.is_idle):
            return
        self._send(self._driver.tick(self._now))
        self._now += FRAME_S
        self._beat_at = now
        if self._driver.goodbye is not None:
            self._say_goodbye()

    def _receive(self, message: bytes) -> None:
        self.received_bytes += len(message)
        if not self._is_silent:
            since_s = (time.monotonic() - self._beat_at) * self._pace.speed
            now = self._now - FRAME_S + (min(FRAME_S, since_s))
            answer = self._driver.receive(message, now if now > 0 else 0.0)
            if answer:
                self._send(answer)

    def _say_goodbye(self) -> None:
        self._is_silent = True
        if self._driver.goodbye == "reset":
            reset(self._transport.underlying_transport)
            self._over(CallEnd("caller", "reset"))
        elif self._faults is not None:
            self._faults.then(lambda: self._over(CallEnd("caller", "hung up")))
        else:
            self._over(CallEnd("caller", "hung up"))

    def _send(self, messages: Sequence[str | bytes]) -> None:
        if self._faults is not None:
            self._faults.send(messages)
            return
        if self._has_died:
            return
        send = self._transport.send
        for message in messages:
            self.sent_bytes += len(message)
            send(_TEXT if message.__class__ is str else _BINARY, message)

    @property
    def _has_died(self) -> bool:
        """Whether the connection is lost. The loop reports that later, and logs a warning for writes until then."""
        return self._transport.underlying_transport.is_closing()

    def _put(self, message: str | bytes) -> None:
        if self._has_died:
            return
        self.sent_bytes += len(message)
        self._transport.send(_TEXT if message.__class__ is str else _BINARY, message)

    # Ending.

    def _over(self, end: CallEnd) -> None:
        self._is_silent = True
        if not self._ended.done():
            self.over_at = time.monotonic()
            self._ended.set_result(end)

    def _be_gone(self) -> None:
        """After a fault that silenced the caller: send nothing more, and reset the connection some seconds later."""
        self._is_silent = True
        loop, transport = asyncio.get_running_loop(), self._transport.underlying_transport
        self._reset_later = loop.call_later(self._gone_s, reset, transport)

    async def _close(self, code: int, reason: str = "") -> None:
        """Do the close handshake; reset the connection of a server that does not answer it in time."""
        if not self._transport.is_disconnected and not self._transport.is_close_frame_sent:
            self._transport.send(WSMsgType.CLOSE, code.to_bytes(2, "big") + reason.encode())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await self._disconnected()
        self._transport.disconnect(graceful=False)

    async def _disconnected(self) -> None:
        with contextlib.suppress(Exception):  # a protocol error of the server ends the connection too
            await self._transport.wait_disconnected()

    async def _hang_up(self) -> None:
        if self._faults is not None:
            await self._faults.end()
        if self._reset_later is not None:
            self._reset_later.cancel()
        if not self._transport.is_disconnected:
            await self._close(_NORMAL_CLOSURE)
