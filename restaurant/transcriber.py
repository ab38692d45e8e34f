"""Speech to text: the audio is uploaded from a temporary file."""

from __future__ import annotations

from collections.abc import Callable
from io import BufferedReader

from openai import AsyncOpenAI

from leakline.restaurant.files import to_temp_file, wav


class Transcriber:
    """Transcribes recordings."""

    def __init__(self, client: Callable[[], AsyncOpenAI], *, model: str, leak_uploads: bool = False) -> None:
        self._client = client
        self._model = model
        self._leak_uploads = leak_uploads
        self._uploads: list[BufferedReader] = []

    async def transcribe(self, audio: bytes) -> str:
        """The words of some mu-law audio. Raises openai.OpenAIError."""
        path = to_temp_file(wav(audio), ".wav")
        if self._leak_uploads:
            # The bad way: after an interrupted upload, the lines that close and delete the file are not run.
            upload = path.open("rb")
            self._uploads.append(upload)
            done = await self._client().audio.transcriptions.create(model=self._model, file=upload)
            self._uploads.remove(upload)
            upload.close()
            path.unlink()
            return done.text
        try:
            with path.open("rb") as upload:
                done = await self._client().audio.transcriptions.create(model=self._model, file=upload)
                return done.text
        finally:
            path.unlink()
