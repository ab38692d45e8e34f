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

import aiohttp
import numpy as np
import psutil
import uvloop

from fakes.audio import SILENCE_FRAME
from fakes.ledger import Ledger
from fakes.openai import ModelScript, OpenAIServer, Turn

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


def serve(pipe: Connection) -> None:
    with contextlib.suppress(AttributeError, OSError):
        os.sched_setaffinity(0, {0})

    async def main() -> None:
        async with OpenAIServer(SCRIPT, Ledger()) as server:
            pipe.send(server.realtime_url)
            await asyncio.get_running_loop().run_in_executor(None, pipe.recv)

    uvloop.run(main())


@dataclass
class Load:
    deltas: int = 0
    late: int = 0
    delays_ms: list[float] = field(default_factory=list)


async def session(http: aiohttp.ClientSession, url: str, load: Load, start_at: float, end_at: float) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(max(0.0, start_at - loop.time()))
    async with http.ws_connect(url, headers={"Authorization": "Bearer k"}, max_msg_size=0) as websocket:
        asked_at = 0.0

        async def hear() -> None:
            async for message in websocket:
                kind = message.data[:45]
                if "response.output_audio.delta" in kind:
                    load.deltas += 1
                elif "input_audio_buffer.cleared" in kind:
                    load.delays_ms.append(1000 * (loop.time() - asked_at))

        hearing = asyncio.create_task(hear())
        await websocket.send_str(SESSION)
        await websocket.send_str('{"type": "response.create"}')
        due, number = loop.time(), 0
        while due < end_at:
            await websocket.send_str(APPEND)
            number += 1
            if number % 50 == 25:
                asked_at = loop.time()
                await websocket.send_str('{"type": "input_audio_buffer.clear"}')
            due += 0.02
            load.late += loop.time() > due + 0.02
            await asyncio.sleep(max(0.0, due - loop.time()))
        hearing.cancel()


async def measure(url: str, server: psutil.Process, number: int) -> str:
    loop = asyncio.get_running_loop()
    load = Load()
    begin = loop.time() + 0.2
    end = begin + RAMP_S + SECONDS
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        tasks = [
            asyncio.create_task(session(http, url, load, begin + RAMP_S * n / number, end)) for n in range(number)
        ]
        await asyncio.sleep(0.2 + RAMP_S)
        deltas, late = load.deltas, load.late
        load.delays_ms.clear()
        busy, began = sum(server.cpu_times()[:2]), time.perf_counter()
        await asyncio.sleep(SECONDS - 0.5)
        wall = time.perf_counter() - began
        rate = (load.deltas - deltas) / wall / number
        late_share = (load.late - late) / (50 * wall * number)
        cpu = (sum(server.cpu_times()[:2]) - busy) / wall
        await asyncio.gather(*tasks)
    p50, p99 = np.percentile(load.delays_ms, (50, 99)) if load.delays_ms else (float("nan"),) * 2
    return f"{number:>8} {rate:>11.1f} {100 * late_share:>11.1f} % {100 * cpu:>9.0f} % {p50:>10.1f} {p99:>10.1f}"


def main() -> None:
    numbers = [int(text) for text in sys.argv[1:]] or [100, 200, 300, 400, 500, 600]
    with contextlib.suppress(AttributeError, OSError):
        os.sched_setaffinity(0, {1})
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    url = ours.recv()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"uvloop {version('uvloop')}\n"
    )
    print(f"{'sessions':>8} {'deltas/s':>11} {'late appends':>13} {'server':>11} {'p50 ms':>10} {'p99 ms':>10}")
    try:
        for number in numbers:
            print(uvloop.run(measure(url, psutil.Process(process.pid or 0), number)), flush=True)
    finally:
        ours.send("end")
        process.join(5)
        process.kill()


if __name__ == "__main__":
    main()
