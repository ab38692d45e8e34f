"""The agent that answers in text."""

from __future__ import annotations

from collections.abc import Callable

from openai import AsyncOpenAI, AsyncStream
from openai.types.chat import ChatCompletionChunk

_MANNERS = "You take orders at the Grill, a burger restaurant. Answer in a sentence or two."
_ENOUGH = 24


class ChatAgent:
    """Answers what a guest says."""

    def __init__(self, client: Callable[[], AsyncOpenAI], *, model: str, leak_streams: bool = False) -> None:
        self._client = client
        self._model = model
        self._leak_streams = leak_streams
        self._streams: set[AsyncStream[ChatCompletionChunk]] = set()

    async def reply(self, said: str) -> str:
        """The whole answer. Raises openai.OpenAIError."""
        done = await self._client().chat.completions.create(
            model=self._model,
            messages=[{"role": "system", "content": _MANNERS}, {"role": "user", "content": said}],
        )
        return done.choices[0].message.content or ""

    async def first_words(self, said: str) -> str:
        """The beginning of the answer, at least 24 characters, without the rest. Raises openai.OpenAIError."""
        stream = await self._client().chat.completions.create(
            model=self._model,
            messages=[{"role": "system", "content": _MANNERS}, {"role": "user", "content": said}],
            stream=True,
        )
        self._streams.add(stream)
        text = ""
        try:
            async for chunk in stream:
                text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
                if len(text) >= _ENOUGH:
                    break
        finally:
            if self._leak_streams:
                stream.close()  # type: ignore[unused-coroutine]  # the bad way: this closes nothing
            else:
                await stream.close()
                self._streams.discard(stream)
        return text
