"""A browser's end of a WebSocket of the server's own, as a Sans-I/O machine with the face of a `MediaStream`.

There is no protocol to be faithful to: audio goes as binary messages or inside of a text, and whatever the server
sends is heard.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import ClassVar

from leakline.fakes.audio import AudioFormat, seconds_of

ENDPOINT = "browser"
"""What a browser's session is called in the ledger."""

_READ_S = 0.02
_WAV_HEAD, _RIFF = 44, b"RIFF"


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
    """Seconds of audio that the server sent; a written message counts 0.02."""
    playing_until: float = 0.0
    """Time at which all of that has played."""

    marks: ClassVar[tuple[()]] = ()
    """A browser is not asked what it has played."""

    def open(self) -> list[str | bytes]:
        """Nothing is said before the script does."""
        return []

    def media(self, payload: str) -> list[str | bytes]:
        """20 ms of audio, given in base64; none is sent for none."""
        if not payload:
            return []
        return [self.before + payload + self.after if self.before or self.after else base64.b64decode(payload)]

    def stop(self) -> list[str | bytes]:
        """Nothing is said at the end: the WebSocket closes."""
        return []

    def played(self, _now: float) -> list[str | bytes]:
        """Nothing is told of what has been played."""
        return []

    def receive(self, message: str | bytes, now: float) -> list[str | bytes]:
        """Take one message of the server: JSON, as text or as bytes, is written; all else is sound."""
        length_s = _READ_S
        if isinstance(message, bytes) and message.lstrip()[:1] not in (b"{", b"["):
            length_s = max(_READ_S, _seconds(message, self.format))
        self.heard_s += length_s
        self.playing_until = max(self.playing_until, now) + length_s
        return []


def _seconds(audio: bytes, fmt: AudioFormat) -> float:
    """How long a message plays: a WAV file by its own rate, anything else as the browser's own format."""
    if audio[:4] == _RIFF and len(audio) > _WAV_HEAD:
        bytes_a_second = int.from_bytes(audio[28:32], "little")
        return (len(audio) - _WAV_HEAD) / bytes_a_second if bytes_a_second else 0.0
    return seconds_of(audio, fmt)
