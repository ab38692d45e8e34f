"""The I/O shell of a Realtime session: connects one socket to one session machine, with the clock and the faults."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

import orjson
from aiohttp import WSMsgType, web

from leakline.fakes.faults import BlackHole, ExpireSession, Fault, FaultPlan, Gone, HalfOpen, Point
from leakline.fakes.ledger import EndReason
from leakline.fakes.openai.conversation import Event
from leakline.fakes.openai.ticks import Ticks, finish

ENDPOINT = "realtime"
"""The name of Realtime sessions in the ledger and in fault rules."""


class SessionMachine(Protocol):
    """A Sans-I/O session of either dialect (GA or beta)."""

    @property
    def wake_at(self) -> float | None:
        """Call time at which `advance` next has events to send, or None."""

    @property
    def caller(self) -> int | None:
        """The call's number that the caller's audio carries; None before it is received."""

    def start(self) -> list[Event]:
        """The events that a new connection begins with."""

    def receive(self, message: str | bytes, now: float) -> list[Event]:
        """Take one client message; returns the events that answer it."""

    def advance(self, now: float) -> list[Event]:
        """The events that are due by `now`."""


class RealtimeShell:
    """Moves events between one socket and one session machine, and wakes the machine when it has events to send.

    Args:
        speed: call seconds per real second.
        ticks: the timer that wakes it; shared by the sessions of a server.
        refuse: stops the server's port from accepting connections, for the fault `refuse`.
        moved: called with payload bytes (received, sent) since the last time.
        heard: called once, with the call's number that the caller's audio carries.
        expires_s: real seconds after which the session has reached its maximum duration.
    """

    def __init__(
        self,
        transport: asyncio.Transport | None,
        socket: web.WebSocketResponse,
        session: SessionMachine,
        *,
        speed: float,
        faults: FaultPlan,
        ticks: Ticks | None = None,
        refuse: Callable[[float], Awaitable[None]] | None = None,
        moved: Callable[[int, int], None] = lambda _received, _sent: None,
        heard: Callable[[int], None] = lambda _caller: None,
        expires_s: float = 3600.0,
    ) -> None:
        self._expires_s = expires_s
        self._moved = moved
        self._heard: Callable[[int], None] | None = heard
        self._transport = transport
        self._socket = socket
        self._session = session
        self._speed = speed
        self._faults = faults
        self._ticks = ticks or Ticks()
        self._refuse = refuse
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._in_order = asyncio.Lock()
        self._received_bytes = self._sent_bytes = 0
        self._muted = self._expired = False
        self._faulted = False

    async def run(self) -> tuple[str, EndReason]:
        """Serve until the socket ends; returns how and why it ended, for the ledger."""
        speaker = asyncio.create_task(self._speak())
        expiry = asyncio.create_task(self._expire())
        try:
            await self._opened()
            async for message in self._socket:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY) and not self._muted:
                    self._received_bytes += len(message.data)
                    before = self._session.wake_at
                    answer = self._session.receive(message.data, self._now())
                    if self._session.wake_at != before and self._waiter is not None:
                        finish(self._waiter)
                    if self._heard is not None and self._session.caller is not None:
                        self._heard(self._session.caller)
                        self._heard = None
                    if answer:
                        await self._send(answer)
        finally:
            speaker.cancel()
            expiry.cancel()
            self._report_bytes()
        if self._expired:
            return "expired", EndReason.COMPLETED
        if self._faulted:
            return "ended by a fault", EndReason.FAULT
        code = self._socket.close_code
        return ("dropped", EndReason.DROPPED) if code in (None, 1006) else (f"closed {code}", EndReason.COMPLETED)

    async def _expire(self) -> None:
        await asyncio.sleep(self._expires_s)
        self._expired = True
        async with self._in_order:
            await self._strike(ExpireSession(), b"")

    def _report_bytes(self) -> None:
        self._moved(self._received_bytes, self._sent_bytes)
        self._received_bytes = self._sent_bytes = 0

    async def _opened(self) -> None:
        fault = self._faults.draw(ENDPOINT, "open")
        if fault is None or await self._strike(fault, b""):
            await self._send(self._session.start())

    async def _speak(self) -> None:
        while not self._muted:
            await self._until(self._session.wake_at)
            events = self._session.advance(self._now())
            if events:
                await self._send(events)
            if self._session.wake_at is None:
                self._report_bytes()  # once per response, not for every frame

    async def _until(self, wake_at: float | None) -> None:
        """Wait until `wake_at`, or until it has changed."""
        if wake_at is not None and wake_at <= self._now():
            return
        waiter = self._waiter = self._loop.create_future()
        if wake_at is not None:
            self._ticks.wake(waiter, wake_at / self._speed)
        await waiter

    async def _send(self, events: Iterable[Event]) -> None:
        # Two tasks send. The lock is fair, so events are sent in the order in which they were made.
        async with self._in_order:
            for event in events:
                text = orjson.dumps(event)
                fault = self._faults.draw(ENDPOINT, "event", event["type"])
                if self._muted or (fault is not None and not await self._strike(fault, text)):
                    continue
                try:
                    self._sent_bytes += len(text)
                    await self._socket.send_frame(text, WSMsgType.TEXT)
                except ConnectionError:
                    return  # the client has closed: the receiving side notes how

    async def _strike(self, fault: Fault, due: bytes) -> bool:
        """Let `fault` strike; returns whether what is due is still to be sent."""
        point = Point(
            self._transport,
            send=self._say,
            due=due,
            mute=self._mute,
            close=self._close,
            refuse=self._refuse,
        )
        try:
            await fault.strike(point)
        except Gone:
            self._muted = True
            # After a fault that only falls silent, it is the client that ends the session.
            self._faulted = not isinstance(fault, BlackHole | HalfOpen)
            return False
        return not fault.replaces

    async def _say(self, message: bytes) -> None:
        await self._socket.send_str(message.decode("utf-8", "replace"))

    def _mute(self) -> None:
        self._muted = True

    async def _close(self, code: int, reason: str) -> None:
        self._faulted = True  # before the peer's close frame ends `run`
        await self._socket.close(code=code, message=reason.encode())

    def _now(self) -> float:
        return self._loop.time() * self._speed
