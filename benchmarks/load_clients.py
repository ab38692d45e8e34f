"""The clients of `benchmarks/load.py`: `python load_clients.py NAME CALLS URL` holds so many calls.

Each sends a frame of media every 20 ms in every call, at times that do not drift, and reads what comes back. Ours
does what it does in a load run (the script, the audio, the measurements); the others do nothing more.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine
from typing import Any

FRAME_S = 0.02
LONG_S = 600.0
"""Longer than any client is left running."""

PHASES = 20


def frame() -> str:
    """A message as Twilio sends it."""
    from leakline.fakes.twilio import MediaStream, StreamIds

    return str(MediaStream(StreamIds.numbered(1)).media("A" * 216)[0])


def ours(calls: int, url: str) -> None:
    """The engine of `leakline load`."""
    import threading

    from leakline.harness.run.load.engine import Engine
    from leakline.scenarios import HangUp, Say, Scenario

    scenario = Scenario("talk", Say("Hello", seconds=LONG_S), HangUp())
    with Engine(start_thread=lambda run: threading.Thread(target=run, daemon=True).start()) as engine:
        for _ in range(calls):
            engine.place(url, scenario, lambda outcome: None)
            time.sleep(0.001)
        time.sleep(LONG_S)


def raw(calls: int, url: str) -> None:
    """picows and uvloop alone, with our timer: what comes is not looked at."""
    import asyncio

    import uvloop
    from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

    from leakline.fakes.twilio.alarm import Alarm

    message = frame().encode()

    class Call(WSListener):
        def on_ws_connected(self, transport: WSTransport) -> None:
            self.transport = transport

        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            pass

    async def run() -> None:
        alarm = Alarm()
        phases: list[list[Call]] = [[] for _ in range(PHASES)]

        def fire(phase: int, due: float) -> None:
            for call in phases[phase]:
                call.transport.send(WSMsgType.TEXT, message)
            alarm.at(due + FRAME_S, lambda: fire(phase, due + FRAME_S))

        for phase in range(PHASES):
            fire(phase, time.monotonic() + FRAME_S * phase / PHASES)
        for number in range(calls):
            call = Call()
            await ws_connect(lambda call=call: call, url)
            phases[number * 7 % PHASES].append(call)
        await asyncio.sleep(LONG_S)

    uvloop.run(run())


def with_websockets(calls: int, url: str) -> None:
    """The library websockets, on uvloop."""
    from websockets.asyncio.client import connect

    message = frame()

    async def call() -> None:
        async with connect(url, compression=None) as socket:
            await _talk(socket, lambda: socket.send(message))

    _all_at_once(call, calls)


def with_aiohttp(calls: int, url: str) -> None:
    """aiohttp's client, on uvloop."""
    import aiohttp

    message = frame()
    sessions: list[aiohttp.ClientSession] = []

    async def call() -> None:
        if not sessions:
            sessions.append(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        async with sessions[0].ws_connect(url) as socket:
            await _talk(socket, lambda: socket.send_str(message))

    _all_at_once(call, calls)


async def _talk(socket: AsyncIterable[object], send: Callable[[], Awaitable[None]]) -> None:
    """Send a frame when it is due, and read what comes meanwhile."""
    import asyncio

    async def hear() -> None:
        async for _ in socket:
            pass

    heard = asyncio.create_task(hear())
    await _every_frame(send)
    await heard


async def _every_frame(send: Callable[[], Awaitable[None]]) -> None:
    import asyncio

    due = time.monotonic()
    while True:
        due += FRAME_S
        await asyncio.sleep(due - time.monotonic())
        await send()


def _all_at_once(call: Callable[[], Coroutine[Any, Any, None]], calls: int) -> None:
    import asyncio

    import uvloop

    async def run() -> None:
        tasks = []
        for _ in range(calls):
            tasks.append(asyncio.ensure_future(call()))
            await asyncio.sleep(0.004)
        await asyncio.gather(*tasks)

    uvloop.run(run())


def locust_user(calls: int, url: str) -> None:
    """What Locust's users write by hand: gevent, websocket-client, a user and a greenlet a call."""
    from gevent import monkey

    monkey.patch_all()
    import gevent
    import websocket
    from locust import User, constant, task
    from locust.env import Environment

    message = frame()

    class Caller(User):
        wait_time = constant(0)

        @task
        def call(self) -> None:
            socket = websocket.create_connection(url)

            def hear() -> None:
                while True:
                    socket.recv()

            gevent.spawn(hear)
            due = time.monotonic()
            while True:
                due += FRAME_S
                gevent.sleep(max(0.0, due - time.monotonic()))
                socket.send(message)

    environment = Environment(user_classes=[Caller])
    runner = environment.create_local_runner()
    runner.start(calls, spawn_rate=200)
    gevent.sleep(LONG_S)


def artillery(calls: int, url: str) -> None:
    """Artillery's WebSocket engine: `ARTILLERY` is its program."""
    import json
    import subprocess
    import tempfile

    script = {
        "config": {"target": url, "phases": [{"duration": max(1, calls // 200), "arrivalCount": calls}]},
        "scenarios": [
            {
                "engine": "ws",
                "flow": [
                    {
                        "loop": [{"send": frame()}, {"think": f"{1000 * FRAME_S:.0f}ms"}],
                        "count": round(LONG_S / FRAME_S),
                    },
                ],
            }
        ],
    }
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(script, file)
        file.flush()
        command = [os.environ["ARTILLERY"], "run", "--quiet", file.name]
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)


CLIENTS: dict[str, Callable[[int, str], None]] = {
    "ours": ours,
    "raw picows": raw,
    "websockets": with_websockets,
    "aiohttp": with_aiohttp,
    "Locust user": locust_user,
    "artillery": artillery,
}


if __name__ == "__main__":
    os.sched_setaffinity(0, {0})
    CLIENTS[sys.argv[1]](int(sys.argv[2]), sys.argv[3])
