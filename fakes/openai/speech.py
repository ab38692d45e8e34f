"""Text to speech: valid audio in every format that `/v1/audio/speech` offers.

`wav` and `pcm` are written here; `mp3`, `opus`, `aac` and `flac` are encoded by FFmpeg's libraries through PyAV,
which come with `leakline[audio]`. Settings are those of `types/audio/speech_create_params.py` in the OpenAI SDK.
"""

from __future__ import annotations

import base64
import io
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from leakline.fakes.audio import decode, speech
from leakline.fakes.openai.errors import ClientError, parameter, wrong_type

if TYPE_CHECKING:
    from av.audio.stream import AudioStream

RATE = 24_000
"""Samples per second of all speech."""

CONTENT_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/opus",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
"""Content type of each `response_format`."""
_CODECS = {
    "mp3": ("libmp3lame", "mp3"),
    "opus": ("libopus", "ogg"),
    "aac": ("aac", "adts"),
    "flac": ("flac", "flac"),
}
"""(FFmpeg codec, FFmpeg container) of each encoded format."""
_MOST_CHARACTERS = 4096
"""Longest input (OpenAI SDK, `types/audio/speech_create_params.py`)."""
_SECONDS_A_WORD = 0.3
"""How long a word takes to say, about."""
_CHUNK_BYTES = 4096
"""Bytes of audio in one piece of a stream."""


@dataclass(frozen=True)
class SpeechRequest:
    """What a client asked for, as far as the answer depends on it."""

    words: int
    """Words of the input."""
    format: str
    """A format of CONTENT_TYPES."""
    speed: float
    """How fast it is spoken; 1.0 is normal."""
    sse: bool
    """Whether the audio is sent as server-sent events."""

    @property
    def seconds(self) -> float:
        """How long the speech is, in seconds."""
        return max(0.2, self.words * _SECONDS_A_WORD / self.speed)


def speech_request(body: object) -> SpeechRequest:
    """The checked request of a JSON body. Raises ClientError, with the service's error."""
    if not isinstance(body, dict):
        raise ClientError("Invalid type: expected a JSON object.", code="invalid_type")
    parameter(body, "model", str, "a string")
    text = parameter(body, "input", str, "a string")
    parameter(body, "voice", object, "a string")
    if not 1 <= len(text) <= _MOST_CHARACTERS:
        problem = "string_too_long" if text else "string_too_short"
        raise ClientError(
            f"Invalid 'input': expected a string of 1 to {_MOST_CHARACTERS} characters, but got {len(text)}.",
            code=problem,
            param="input",
        )
    fmt = body.get("response_format", "mp3")
    if not isinstance(fmt, str) or fmt not in CONTENT_TYPES:
        known = ", ".join(f"'{name}'" for name in CONTENT_TYPES)
        raise ClientError(
            f"Invalid value: {fmt!r}. Supported values are: {known}.", code="invalid_value", param="response_format"
        )
    speed = body.get("speed", 1.0)
    if isinstance(speed, bool) or not isinstance(speed, int | float):
        raise wrong_type("speed", "a number", speed)
    if not 0.25 <= speed <= 4.0:
        raise ClientError(
            f"Invalid 'speed': {speed}. Expected a number from 0.25 to 4.0.", code="invalid_value", param="speed"
        )
    return SpeechRequest(len(text.split()), fmt, float(speed), body.get("stream_format") == "sse")


@lru_cache(maxsize=64)
def spoken(seconds: float, fmt: str) -> bytes:
    """`seconds` of speech in a format of CONTENT_TYPES. Raises ClientError when its encoder is not installed."""
    raw = speech(round(seconds, 3), "audio/pcm")
    if fmt == "pcm":
        return raw
    if fmt == "wav":
        return wav(raw)
    try:
        import av
    except ImportError:
        raise ClientError(
            f"The fake cannot encode '{fmt}' here: pip install 'leakline[audio]', or ask for 'wav' or 'pcm'.",
            status=501,
            kind="server_error",
        ) from None
    codec, container = _CODECS[fmt]
    output = io.BytesIO()
    with av.open(output, "w", format=container) as file:
        stream = cast("AudioStream", file.add_stream(codec, rate=RATE, layout="mono"))
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(decode(raw, "audio/pcm").reshape(1, -1)), format="s16", layout="mono"
        )
        frame.sample_rate = RATE
        for packet in (*stream.encode(frame), *stream.encode(None)):
            file.mux(packet)
    return output.getvalue()


def wav(pcm: bytes) -> bytes:
    """PCM16 at RATE as a WAV file."""
    output = io.BytesIO()
    with wave.open(output, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(pcm)
    return output.getvalue()


def pieces(audio: bytes) -> Iterator[bytes]:
    """The audio in the pieces that a stream sends."""
    for at in range(0, len(audio), _CHUNK_BYTES):
        yield audio[at : at + _CHUNK_BYTES]


def sse_events(request: SpeechRequest, audio: bytes) -> Iterator[dict[str, Any]]:
    """The events of `stream_format: sse`."""
    for piece in pieces(audio):
        yield {"type": "speech.audio.delta", "audio": base64.b64encode(piece).decode("ascii")}
    said = round(request.seconds * 20)
    usage = {"input_tokens": request.words, "output_tokens": said, "total_tokens": request.words + said}
    yield {"type": "speech.audio.done", "usage": usage}
