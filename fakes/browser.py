"""A browser's end of a WebSocket with the server, as a Sans-I/O machine with the same methods as `MediaStream`.

There is no standard protocol for it: audio is sent as binary messages or inside a text message, and whatever the
server sends counts as heard.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import ClassVar

from leakline.fakes.audio import AudioFormat, seconds_of

ENDPOINT = "browser"
"""The name of a browser's sessions in the ledger and in fault rules."""

_READ_S = 0.02
"""Seconds that a text message counts as heard: reading takes no time in a scripted call."""
_WAV_HEAD, _RIFF = 44, b"RIFF"
"""Length of a WAV file's header, in bytes, and how it begins."""


@dataclass
class BrowserStream:
    """One session, from the WebSocket's opening to its close. Time is seconds of call time.

    Args:
        before, after: the parts of a text message around the base64 of 20 ms of audio; both empty: it goes as binary.
    """

    before: str = ""
    after: str = ""
    format: AudioFormat = "audio/pcmu"
    heard_s: float = 0.0
    """Seconds of audio that the server sent; a text or JSON message counts 0.02."""
    playing_until: float = 0.0
    """Time at which all of that has played."""

    marks: ClassVar[tuple[()]] = ()
    """Always empty: marks are Twilio's."""

    def open(self) -> list[str | bytes]:
        """Nothing: a browser's session begins with the script's own messages."""
        return []

    def media(self, payload: str) -> list[str | bytes]:
        """The message with 20 ms of audio, given in base64; no message for an empty `payload`."""
        if not payload:
            return []
        return [self.before + payload + self.after if self.before or self.after else base64.b64decode(payload)]

    def stop(self) -> list[str | bytes]:
        """Nothing: the WebSocket just closes."""
        return []

    def played(self, _now: float) -> list[str | bytes]:
        """Nothing: a browser does not report what it has played."""
        return []

    def receive(self, message: str | bytes, now: float) -> list[str | bytes]:
        """Take one message of the server. Text, and bytes that begin like JSON, are read; other bytes are audio."""
        length_s = _READ_S
        if isinstance(message, bytes) and message.lstrip()[:1] not in (b"{", b"["):
            length_s = max(_READ_S, _seconds(message, self.format))
        self.heard_s += length_s
        self.playing_until = max(self.playing_until, now) + length_s
        return []


def _seconds(audio: bytes, fmt: AudioFormat) -> float:
    """How long a message plays: a WAV file at its own rate, other audio as `fmt`."""
    if audio[:4] == _RIFF and len(audio) > _WAV_HEAD:
        bytes_a_second = int.from_bytes(audio[28:32], "little")
        return (len(audio) - _WAV_HEAD) / bytes_a_second if bytes_a_second else 0.0
    return seconds_of(audio, fmt)
