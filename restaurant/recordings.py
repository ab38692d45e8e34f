"""The AI service: records what guests say, transcribes it and answers."""

from __future__ import annotations

from dataclasses import dataclass

from leakline.restaurant.container import Container


@dataclass(frozen=True)
class Answer:
    """The answer to a recording."""

    transcript: str
    text: str
    audio: bytes
    """A WAV file of `text`."""


class Recording:
    """Mu-law audio of one guest.

    With `copy_all` it has the leak `whole_recordings`: every piece copies the whole recording.
    """

    def __init__(self, *, copy_all: bool = False) -> None:
        self._copy_all = copy_all
        self._audio = bytearray()
        self._copies: list[bytes] = []

    def append(self, piece: bytes) -> None:
        """Add the next piece of audio."""
        if self._copy_all:
            # The bad way: a minute of speech is some 700 MB of copies until the call ends.
            self._copies.append((self._copies[-1] if self._copies else b"") + piece)
        else:
            self._audio += piece

    @property
    def audio(self) -> bytes:
        """All audio so far."""
        return self._copies[-1] if self._copies else bytes(self._audio)


class AIService:
    """Keeps a recording for each guest who speaks, and answers when it stops."""

    def __init__(self, container: Container, *, copy_all: bool = False) -> None:
        self._container = container
        self._copy_all = copy_all
        self.recordings: dict[str, Recording] = {}
        """Recordings in progress, by the guest's id."""

    def start_recording(self, guest: str) -> None:
        """Start a recording; an earlier one of the same guest is dropped."""
        self.recordings[guest] = Recording(copy_all=self._copy_all)

    def record(self, guest: str, audio: bytes) -> None:
        """Add mu-law audio; does nothing when the guest is not being recorded."""
        recording = self.recordings.get(guest)
        if recording is not None:
            recording.append(audio)

    def drop_recording(self, guest: str) -> None:
        """Discard a guest's recording, if there is one."""
        self.recordings.pop(guest, None)

    async def transcribe_recording(self, guest: str) -> str:
        """Stop, and transcribe what was said; empty when nothing was. Raises openai.OpenAIError."""
        recording = self.recordings.pop(guest, None)
        if recording is None or not recording.audio:
            return ""
        return await self._container.transcriber.transcribe(recording.audio)

    async def stop_recording(self, guest: str) -> Answer:
        """Stop, and answer what was said, in text and speech. Raises openai.OpenAIError."""
        transcript = await self.transcribe_recording(guest)
        text = await self._container.chat.reply(transcript)
        return Answer(transcript, text, await self._container.speech.speak(text))
