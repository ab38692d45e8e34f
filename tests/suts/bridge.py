"""A small bridge server on `websockets` alone, with one planted leak: `python bridge.py PORT LEAK [uvloop]`.

Unlike the restaurant in every way that may matter: no framework, no emitter, the caller speaks first, and the
leaks are those that public samples have.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

from blinker import Signal
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

LEAK = sys.argv[2]
KEPT: list[object] = []
CALLS = 0
NOTES = ""
LAST_CALL = 0.0
BY_CALL: dict[str, list[int]] = {}
HUNG_UP = Signal()


async def hear_model(model: object, caller: ServerConnection, stream_sid: str) -> None:
    async for message in model:  # type: ignore[attr-defined]
        event = json.loads(message)
        if event["type"] == "response.output_audio.delta":
            media = {"event": "media", "streamSid": stream_sid, "media": {"payload": event["delta"]}}
            await caller.send(json.dumps(media))


async def forget_nothing() -> None:
    await asyncio.Event().wait()


def leak_one() -> None:
    """Leave one thing behind, of the kind that the command line names."""
    global CALLS, LAST_CALL, NOTES
    CALLS += 1
    if LEAK == "task":
        KEPT.append(asyncio.create_task(forget_nothing()))
    elif LEAK == "thread":
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    elif LEAK == "file":
        path = Path(tempfile.gettempdir()) / f"bridge-{os.getpid()}-{CALLS}.log"
        KEPT.append(path.open("w"))
        path.unlink()
    elif LEAK == "heap":
        KEPT.append(json.loads(json.dumps({"call": CALLS, "notes": ["x" * 100 + str(n) for n in range(40)]})))
    elif LEAK == "rare" and CALLS % 5 == 0:
        asyncio.get_running_loop().call_later(3600, print)
    elif LEAK == "thread_timer":
        threading.Timer(3600, print).start()
    elif LEAK == "signal":
        HUNG_UP.connect(lambda _sender: None, weak=False)
    elif LEAK == "child":
        KEPT.append(subprocess.Popen(["true"]))
    elif LEAK == "temp_file":
        tempfile.NamedTemporaryFile(prefix="bridge-", delete=False).close()
    elif LEAK == "event":
        KEPT.append(os.eventfd(0))
    elif LEAK == "generator":
        KEPT.append(begun())
    elif LEAK == "registry":
        BY_CALL[f"call-{CALLS}"] = [CALLS]
    elif LEAK == "text":
        NOTES += "The caller came, and asked, and went. " * 20
    elif LEAK == "slow_cleanup":  # longer than all calls take
        asyncio.get_running_loop().call_later(8.0, str)
    elif LEAK == "lingers":  # for some seconds: more with each call, and most of all with the first after a rest
        rested, LAST_CALL = time.monotonic() - LAST_CALL > 1.0, time.monotonic()
        for _ in range(30 * CALLS if rested else CALLS):
            asyncio.get_running_loop().call_later(3.0, str)
    elif LEAK == "one_by_one":
        # Longer with each call, and 14 s for the last of three looks, which is within five times `settle`.
        asyncio.get_running_loop().call_later(6.0 + CALLS / 20, str)
    elif LEAK.startswith("unruly_"):
        from unruly import misbehave  # type: ignore[import-not-found]

        misbehave(LEAK.removeprefix("unruly_"), CALLS)


async def count_up() -> AsyncIterator[int]:
    for number in range(1000):
        yield number


def begun() -> AsyncIterator[int]:
    numbers = count_up()
    with contextlib.suppress(StopIteration):
        numbers.__anext__().send(None)  # type: ignore[attr-defined]
    return numbers


async def handle(caller: ServerConnection) -> None:
    url = os.environ["OPENAI_REALTIME_URL"] + "?model=gpt-realtime"
    headers = {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
    model = await connect(url, additional_headers=headers)
    format_ = {"format": {"type": "audio/pcmu"}}
    audio = {"input": format_, "output": format_}
    await model.send(json.dumps({"type": "session.update", "session": {"type": "realtime", "audio": audio}}))
    listener, begun = None, time.monotonic()
    try:
        async for message in caller:
            event = json.loads(message)
            if event["event"] == "start":
                if LEAK == "shy" and tracemalloc.is_tracing():
                    await caller.close(1011, "I am being watched")
                listener = asyncio.create_task(hear_model(model, caller, event["streamSid"]))
                if LEAK == "unruly_garbage":
                    for garbage in (
                        os.urandom(99),
                        "{",
                        "[]",
                        '{"event": 7}',
                        '{"event": "media", "media": null}',
                        "\0",
                    ):
                        await caller.send(garbage)
            elif event["event"] == "media":
                if LEAK == "deaf" and time.monotonic() < begun + 0.2:
                    continue  # as one that is still busy opening what it needs
                append = {"type": "input_audio_buffer.append", "audio": event["media"]["payload"]}
                await model.send(json.dumps(append))
    except ConnectionClosed:
        pass
    finally:
        if LEAK == "shy":
            asyncio.get_running_loop().call_later(7200, print)
        leak_one()
        if LEAK == "hang" and listener is not None:
            await listener  # as if the model would hang up when the caller does
        if LEAK == "model_socket":
            KEPT.append(model)
        else:
            await model.close()
        if listener is not None:
            listener.cancel()


async def outlive() -> None:
    """Leave behind what the command line names, of a kind that shows when the server is stopped."""
    if LEAK == "orphan":
        await asyncio.create_subprocess_exec("sleep", "600")
    elif LEAK == "pid_file":
        os.close(tempfile.mkstemp(prefix="bridge-")[0])


async def main() -> None:
    await outlive()
    async with serve(handle, "127.0.0.1", int(sys.argv[1])):
        await asyncio.get_running_loop().create_future()


if len(sys.argv) > 3:
    import uvloop

    uvloop.run(main())
else:
    asyncio.run(main())
