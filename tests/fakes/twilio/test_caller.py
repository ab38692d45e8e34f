import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from leakline.fakes.ledger import Ledger
from leakline.fakes.twilio import CallEnd, MediaStream, Pace, StreamCaller, StreamIds
from leakline.fakes.twilio.caller import Goodbye


class Frames:
    """A driver that sends so many frames of silence and then says goodbye."""

    def __init__(self, number: int, goodbye: Goodbye = "stop") -> None:
        self.goodbye: Goodbye | None = None
        self._end: Goodbye = goodbye
        self._left = number
        self._stream = MediaStream(StreamIds.numbered(1))
        self.heard: list[str] = []

    def begin(self) -> list[str]:
        return self._stream.open()

    def tick(self, now: float) -> list[str]:
        if self._left:
            self._left -= 1
            return self._stream.media("/w==")
        self.goodbye = self._end
        return self._stream.stop() if self._end == "stop" else []

    def stop(self) -> list[str]:
        return self._stream.stop()

    def receive(self, message: str | bytes, now: float) -> list[str]:
        self.heard.append(str(message))
        return []


Handler = Callable[[ServerConnection], Awaitable[None]]


def call(handler: Handler, driver: Frames, ledger: Ledger | None = None) -> CallEnd:
    async def one() -> CallEnd:
        async with serve(handler, "127.0.0.1", 0) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            caller = StreamCaller(f"ws://127.0.0.1:{port}", ledger or Ledger(), pace=Pace(50.0))
            async with asyncio.timeout(20):
                return await caller.call(driver, "CA1")

    return asyncio.run(one())


def test_a_caller_speaks_every_frame_and_hangs_up() -> None:
    seen: list[Any] = []

    async def server(connection: ServerConnection) -> None:
        seen.extend([json.loads(message)["event"] async for message in connection])

    ledger = Ledger()
    assert call(server, Frames(25), ledger) == CallEnd("caller", "hung up")
    assert seen == ["connected", "start", *["media"] * 25, "stop"]
    assert [c.ending for c in ledger.ended("media-stream")] == ["caller hung up"]
    assert not ledger.still_open()


def test_a_reset_reaches_the_server_as_a_dead_peer() -> None:
    endings: list[ConnectionClosed] = []

    async def server(connection: ServerConnection) -> None:
        try:
            while True:
                await connection.recv()
        except ConnectionClosed as closed:
            endings.append(closed)

    assert call(server, Frames(5, "reset")) == CallEnd("caller", "reset")
    assert endings
    assert endings[0].rcvd is None  # no close frame came


def test_a_server_that_closes_ends_the_call_with_its_code() -> None:
    async def server(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.close(4001)

    assert call(server, Frames(10_000)) == CallEnd("server", "closed 4001")


def test_a_server_that_drops_the_connection_ends_the_call() -> None:
    async def server(connection: ServerConnection) -> None:
        await connection.recv()
        connection.transport.abort()

    assert call(server, Frames(10_000)) == CallEnd("server", "dropped the connection")


def test_a_refused_call_says_why() -> None:
    async def refused() -> tuple[CallEnd, CallEnd]:
        async with serve(_nothing, "127.0.0.1", 0, process_request=lambda c, _: c.respond(503, "busy\n")) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            busy = await StreamCaller(f"ws://127.0.0.1:{port}", Ledger()).call(Frames(1))
        gone = await StreamCaller(f"ws://127.0.0.1:{port}", Ledger()).call(Frames(1))
        return busy, gone

    busy, gone = asyncio.run(refused())
    assert busy == CallEnd("refused", "HTTP 503")
    assert gone == CallEnd("refused", "connection refused")


async def _nothing(_connection: ServerConnection) -> None:
    pytest.fail("not reached")
