"""Text to speech."""

from __future__ import annotations

from collections.abc import Callable

from openai import AsyncOpenAI


class Speaker:
    """Says a text aloud."""

    def __init__(self, client: Callable[[], AsyncOpenAI], *, model: str) -> None:
        self._client = client
        self._model = model

    async def speak(self, text: str) -> bytes:
        """A WAV file of `text`. Raises openai.OpenAIError."""
        spoken = await self._client().audio.speech.create(
            model=self._model, voice="alloy", input=text, response_format="wav"
        )
        return spoken.content
