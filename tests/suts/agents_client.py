"""openai-agents' realtime session, unmodified, for one turn with a tool: `python agents_client.py`. Prints JSON."""

from __future__ import annotations

import asyncio
import json
import os

from agents import function_tool
from agents.realtime import RealtimeAgent, RealtimeRunner

CART: list[list[object]] = []


@function_tool
def add_to_cart(item: str, quantity: int) -> str:
    """Put something into the cart."""
    CART.append([item, quantity])
    return "ok"


async def main() -> None:
    agent = RealtimeAgent(name="Grill", instructions="Be brief.", tools=[add_to_cart])
    settings = {"model_name": "gpt-realtime", "input_audio_format": "g711_ulaw", "output_audio_format": "g711_ulaw"}
    runner = RealtimeRunner(agent, config={"model_settings": settings})
    url = os.environ["OPENAI_REALTIME_URL"] + "?model=gpt-realtime"
    session = await runner.run(model_config={"api_key": os.environ["OPENAI_API_KEY"], "url": url})
    kinds: list[str] = []
    sound = 0
    async with session, asyncio.timeout(20):
        await session.send_message("Two burgers, please.")
        async for event in session:
            kinds.append(event.type)
            if event.type == "audio":
                sound += len(event.audio.data)
            if event.type in ("audio_end", "error"):
                break
    print(json.dumps({"kinds": kinds, "cart": CART, "audio_bytes": sound}))


asyncio.run(main())
