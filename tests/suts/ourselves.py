"""leakline as a server under test: `python ourselves.py PORT`.

Each call that comes in has it make a whole call of its own: its fake Twilio calls a small bridge in this process,
which talks to its fake OpenAI. What the harness and its fakes leave behind of a call is then this server's leak.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from harness.fakes import Fakes, running
from scenarios import BUILT_IN

INNER = BUILT_IN["question"]
FORMAT = {"format": {"type": "audio/pcmu"}}


async def bridge(caller: ServerConnection, fakes: Fakes) -> None:
    """A call of the inner telephone to the inner model."""
    key = {"Authorization": f"Bearer {fakes.key}"}
    async with connect(fakes.openai.realtime_url, additional_headers=key) as model:
        session = {"type": "realtime", "audio": {"input": FORMAT, "output": FORMAT}}
        await model.send(json.dumps({"type": "session.update", "session": session}))
        speaking: asyncio.Task[None] | None = None
        async for message in caller:
            event = json.loads(message)
            if event["event"] == "start":
                speaking = asyncio.create_task(speak(model, caller, event["streamSid"]))
            elif event["event"] == "media":
                await model.send(
                    json.dumps({"type": "input_audio_buffer.append", "audio": event["media"]["payload"]})
                )
            elif event["event"] == "stop":
                break
        if speaking is not None:
            speaking.cancel()


async def speak(model: object, caller: ServerConnection, sid: str) -> None:
    async for message in model:  # type: ignore[attr-defined]
        event = json.loads(message)
        if event["type"] == "response.output_audio.delta":
            media = {"event": "media", "streamSid": sid, "media": {"payload": event["delta"]}}
            await caller.send(json.dumps(media))


async def main(port: int) -> None:
    async with running(INNER, speed=20.0) as fakes, serve(lambda c: bridge(c, fakes), "127.0.0.1", 0) as inner:
        url = f"ws://127.0.0.1:{next(iter(inner.sockets)).getsockname()[1]}/"

        async def outer(caller: ServerConnection) -> None:
            placed = await fakes.telephone.call(url, INNER)
            if placed.failure:
                print(placed.failure, file=sys.stderr)
                os._exit(1)
            async for _ in caller:
                pass

        async with serve(outer, "127.0.0.1", port):
            await asyncio.get_running_loop().create_future()


asyncio.run(main(int(sys.argv[1])))
