"""How many Realtime sessions the fake OpenAI holds on one core: `python benchmarks/realtime_sessions.py [N ...]`.

Each session appends 50 frames of mu-law audio a second, with VAD on, and is sent 50 audio deltas a second. The
server runs in a process of its own on one core, the clients on another. The answer delay is the time from a client
event (`input_audio_buffer.clear`, once a second in each session) to its answer.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import multiprocessing
import os
import platform
import sys
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from multiprocessing.connection import Connection
from urllib.parse import urlsplit

import numpy as np
import psutil
import uvloop

from leakline.fakes.audio import SILENCE_FRAME
from leakline.fakes.ledger import Ledger
from leakline.fakes.openai import ModelScript, OpenAIServer, Turn
from leakline.fakes.serving import reduce_garbage_collection

SECONDS, RAMP_S = 8.0, 2.0
SCRIPT = ModelScript(turns=(Turn("word " * 50, seconds=300.0),), first_byte_s=0.0, pace=1.0, chunk_s=0.02)
APPEND = json.dumps({"type": "input_audio_buffer.append", "audio": base64.b64encode(SILENCE_FRAME).decode()})
SESSION = json.dumps(
    {
        "type": "session.update",
        "session": {
            "type": "realtime",
            "audio": {"input": {"format": {"type": "audio/pcmu"}}, "output": {"format": {"type": "audio/pcmu"}}},
        },
    }
)

UPGRADE = (
    b"GET /v1/realtime HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer k\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
    + base64.b64encode(bytes(16))
    + b"\r\n\r\n"
)


def serve(pipe: Connection) -> None:
    with contextlib.suppress(AttributeError, OSError):
        os.sched_setaffinity(0, {0})

    async def main() -> None:
        async with OpenAIServer(SCRIPT, Ledger()) as server:
            reduce_garbage_collection()
            pipe.send(server.realtime_url)
            await asyncio.get_running_loop().run_in_executor(None, pipe.recv)

    uvloop.run(main())


@dataclass
class Load:
    deltas: int = 0
    late: int = 0
    delays_ms: list[float] = field(default_factory=list)


class Client(asyncio.Protocol):
    """One session on a raw socket, since the clients must not be what is slow: frames are encoded beforehand, and
    what comes back is counted, not parsed."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.asked_at = 0.0
        self.open = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        if not self.open.done():
            self.open.set_result(data.startswith(b"HTTP/1.1 101"))
        self.load.deltas += data.count(b'"response.output_audio.delta"')
        if b'"input_audio_buffer.cleared"' in data:
            self.load.delays_ms.append(1000 * (time.perf_counter() - self.asked_at))


def frame(text: str) -> bytes:
    """A client's WebSocket text frame (RFC 6455, section 5.2); its mask is zero."""
    body = text.encode()
    length = bytes([0x80 | len(body)]) if len(body) < 126 else b"\xfe" + len(body).to_bytes(2, "big")
    return b"\x81" + length + bytes(4) + body


APPEND_FRAME, CLEAR_FRAME = frame(APPEND), frame('{"type": "input_audio_buffer.clear"}')


async def session(address: tuple[str, int], load: Load, start_at: float, end_at: float) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(max(0.0, start_at - time.perf_counter()))
    transport, client = await loop.create_connection(lambda: Client(load), *address)
    transport.write(UPGRADE)
    if not await asyncio.wait_for(client.open, 10):
        raise RuntimeError("the fake refused a session")
    transport.write(frame(SESSION) + frame('{"type": "response.create"}'))
    due, number = time.perf_counter(), 0
    while due < end_at:
        transport.write(APPEND_FRAME)
        number += 1
        if number % 50 == 25:
            client.asked_at = time.perf_counter()
            transport.write(CLEAR_FRAME)
        due += 0.02
        load.late += time.perf_counter() > due + 0.02
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
    transport.abort()


async def measure(address: tuple[str, int], server: psutil.Process, number: int) -> str:
    load = Load()
    begin = time.perf_counter() + 0.2
    end = begin + RAMP_S + SECONDS
    tasks = [asyncio.create_task(session(address, load, begin + RAMP_S * n / number, end)) for n in range(number)]
    await asyncio.sleep(0.2 + RAMP_S)
    deltas, late = load.deltas, load.late
    load.delays_ms.clear()
    busy, mine, began = sum(server.cpu_times()[:2]), time.process_time(), time.perf_counter()
    await asyncio.sleep(SECONDS - 0.5)
    wall = time.perf_counter() - began
    rate = (load.deltas - deltas) / wall / number
    late_share = (load.late - late) / (50 * wall * number)
    cpu, mine = (sum(server.cpu_times()[:2]) - busy) / wall, (time.process_time() - mine) / wall
    await asyncio.gather(*tasks)
    p50, p99 = np.percentile(load.delays_ms, (50, 99)) if load.delays_ms else (float("nan"),) * 2
    return (
        f"{number:>8} {rate:>11.1f} {100 * late_share:>11.1f} % {100 * cpu:>9.0f} % {100 * mine:>8.0f} % "
        f"{p50:>10.1f} {p99:>10.1f}"
    )


def main() -> None:
    numbers = [int(text) for text in sys.argv[1:]] or [100, 200, 300, 400, 500, 600]
    with contextlib.suppress(AttributeError, OSError):
        os.sched_setaffinity(0, {1})
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    url = urlsplit(ours.recv())
    address = (url.hostname or "127.0.0.1", url.port or 0)
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"uvloop {version('uvloop')}\n"
    )
    print(
        f"{'sessions':>8} {'deltas/s':>11} {'late appends':>13} {'server':>11} {'clients':>10} "
        f"{'p50 ms':>10} {'p99 ms':>10}"
    )
    try:
        for number in numbers:
            print(uvloop.run(measure(address, psutil.Process(process.pid or 0), number)), flush=True)
    finally:
        ours.send("end")
        process.join(5)
        process.kill()


if __name__ == "__main__":
    main()
