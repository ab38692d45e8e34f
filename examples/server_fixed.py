"""A small voice server: a call's audio goes to the OpenAI Realtime API, and the model's goes back to the caller."""

import asyncio
import json
import os
import sys

import websockets

MODEL = os.environ.get("OPENAI_REALTIME_URL", "wss://api.openai.com/v1/realtime") + "?model=gpt-realtime"
KEY = {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
PCMU = {"format": {"type": "audio/pcmu"}}
SESSION = {
    "type": "realtime",
    "instructions": "You answer the telephone of a restaurant.",
    "output_modalities": ["audio"],
    "audio": {"input": {**PCMU, "turn_detection": {"type": "server_vad"}}, "output": PCMU},
}


async def on_call(caller):
    model = await websockets.connect(MODEL, additional_headers=KEY)
    await model.send(json.dumps({"type": "session.update", "session": SESSION}))
    stream = ""

    async def to_caller():
        async for message in model:
            event = json.loads(message)
            if event["type"] == "response.output_audio.delta":
                await caller.send(
                    json.dumps({"event": "media", "streamSid": stream, "media": {"payload": event["delta"]}})
                )

    speaking = asyncio.create_task(to_caller())
    try:
        async for message in caller:
            event = json.loads(message)
            if event["event"] == "start":
                stream = event["start"]["streamSid"]
            if event["event"] == "media":
                audio = {"type": "input_audio_buffer.append", "audio": event["media"]["payload"]}
                await model.send(json.dumps(audio))
            if event["event"] == "stop":
                break
    finally:  # however the call ends
        speaking.cancel()
        await model.close()


async def main(port):
    async with websockets.serve(on_call, "127.0.0.1", port):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
