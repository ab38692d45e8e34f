"""A bridge of several processes: `uvicorn workers:app --workers 2`, or gunicorn with a uvicorn worker.

Each process leaks a task and what it notes of each call, where `LEAK` is set.
"""

from __future__ import annotations

import asyncio
import json
import os

from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection, connect

app = FastAPI()
KEPT: list[object] = []


async def hear_model(model: ClientConnection, caller: WebSocket, stream_sid: str) -> None:
    async for message in model:
        event = json.loads(message)
        if event["type"] == "response.output_audio.delta":
            media = {"event": "media", "streamSid": stream_sid, "media": {"payload": event["delta"]}}
            await caller.send_text(json.dumps(media))


async def forget_nothing(note: list[int]) -> None:
    await asyncio.Event().wait()
    note.clear()


def leak_one() -> None:
    KEPT.append(asyncio.create_task(forget_nothing(list(range(100)))))


@app.websocket("/media-stream")
async def handle(caller: WebSocket) -> None:
    await caller.accept()
    url = os.environ["OPENAI_REALTIME_URL"] + "?model=gpt-realtime"
    headers = {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
    async with connect(url, additional_headers=headers) as model:
        form = {"format": {"type": "audio/pcmu"}}
        session = {"type": "realtime", "audio": {"input": form, "output": form}}
        await model.send(json.dumps({"type": "session.update", "session": session}))
        listener = None
        try:
            while True:
                event = json.loads(await caller.receive_text())
                if event["event"] == "start":
                    listener = asyncio.create_task(hear_model(model, caller, event["streamSid"]))
                elif event["event"] == "media":
                    append = {"type": "input_audio_buffer.append", "audio": event["media"]["payload"]}
                    await model.send(json.dumps(append))
        except WebSocketDisconnect:
            pass
        finally:
            if listener is not None:
                listener.cancel()
            if os.environ.get("LEAK"):
                leak_one()
