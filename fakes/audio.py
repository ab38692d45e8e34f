"""Telephone audio: codecs, frames, and speech-like sound made from a seed.

G.711 (mu-law, A-law) is ITU-T G.711; Twilio Media Streams carry mu-law at 8 kHz in frames of 20 ms
(Twilio docs, "Media Streams - WebSocket Messages"), the Realtime API also PCM16 little-endian at 24 kHz
(OpenAI SDK, `types/realtime/realtime_audio_formats.py`).
"""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Pcm = NDArray[np.int16]

AudioFormat = Literal["audio/pcm", "audio/pcmu", "audio/pcma"]

FRAME_S = 0.02
"""Length of one Media Streams frame, in seconds."""

FRAME_BYTES = 160
"""Bytes of one Media Streams frame: 20 ms of mu-law at 8 kHz."""

SILENCE_FRAME = b"\xff" * FRAME_BYTES
"""One frame of mu-law silence (0xFF is the code of zero)."""

_TAG_BITS = (32, 64, 32)
"""A tag's parts, in bits: the marker that begins it, the number, and the number's CRC-32."""
_TAG_MARK = 0x5EA1_1EAC
"""An arbitrary marker, which real audio is very unlikely to contain as 32 samples of one zero or the other."""
_TAG_CODES = bytes.maketrans(b"01", b"\xff\x7f")
_TAG_MARK_BYTES = f"{_TAG_MARK:032b}".encode().translate(_TAG_CODES)

SAMPLE_RATE: dict[AudioFormat, int] = {"audio/pcm": 24_000, "audio/pcmu": 8_000, "audio/pcma": 8_000}
"""Samples per second of each wire format."""

SAMPLE_BYTES: dict[AudioFormat, int] = {"audio/pcm": 2, "audio/pcmu": 1, "audio/pcma": 1}
"""Bytes per sample of each wire format."""


def _ulaw_table() -> Pcm:
    code = ~np.arange(256, dtype=np.int32) & 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84 << ((code & 0x70) >> 4)) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def _alaw_table() -> Pcm:
    code = np.arange(256, dtype=np.int32) ^ 0x55
    exponent, mantissa = (code & 0x70) >> 4, (code & 0x0F) << 4
    magnitude = np.where(exponent == 0, mantissa + 8, (mantissa + 0x108) << np.maximum(exponent - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


_ULAW, _ALAW = _ulaw_table(), _alaw_table()


def _nearest_codes(table: Pcm) -> NDArray[np.uint8]:
    """Code of the table value nearest to each int16, indexed by the sample + 32768."""
    order = np.argsort(table, kind="stable")
    values = table[order].astype(np.int32)
    edges = (values[1:] + values[:-1]) / 2
    return order[np.searchsorted(edges, np.arange(-32768, 32768))].astype(np.uint8)


_ULAW_CODES, _ALAW_CODES = _nearest_codes(_ULAW), _nearest_codes(_ALAW)


def decode(audio: bytes, fmt: AudioFormat) -> Pcm:
    """Linear samples of `audio`; an odd last byte of PCM16 is ignored."""
    if fmt == "audio/pcm":
        return np.frombuffer(audio, dtype="<i2", count=len(audio) // 2)
    table = _ULAW if fmt == "audio/pcmu" else _ALAW
    return table.take(np.frombuffer(audio, dtype=np.uint8))


def encode(samples: Pcm, fmt: AudioFormat) -> bytes:
    """The wire bytes of linear `samples`."""
    if fmt == "audio/pcm":
        return samples.astype("<i2").tobytes()
    codes = _ULAW_CODES if fmt == "audio/pcmu" else _ALAW_CODES
    return codes[samples.astype(np.int32) + 32768].tobytes()


def tagged_silence(number: int) -> bytes:
    """One frame of mu-law silence that carries `number` (up to 64 bits): mu-law has two zeros, 0xFF and 0x7F.

    It sounds like silence and has no energy. A server that passes its caller's audio on unchanged passes the number
    on, by which the fake model knows whose call a session belongs to.
    """
    word = (_TAG_MARK << 64 | number) << 32 | zlib.crc32(number.to_bytes(8, "big"))
    bits = f"{word:0{sum(_TAG_BITS)}b}".encode().translate(_TAG_CODES)
    return bits.ljust(FRAME_BYTES, b"\xff")


def tag_in(audio: bytes) -> int | None:
    """The number that some mu-law audio carries (`tagged_silence`), or None."""
    at = audio.find(_TAG_MARK_BYTES)
    bits = audio[at + 32 : at + sum(_TAG_BITS)]
    if at < 0 or len(bits) < 96:
        return None
    word = int("".join("1" if code == 0x7F else "0" for code in bits), 2)
    number, check = word >> 32, word & 0xFFFF_FFFF
    return number if zlib.crc32(number.to_bytes(8, "big")) == check else None


def seconds_of(audio: bytes, fmt: AudioFormat) -> float:
    """How long `audio` plays, in seconds."""
    return len(audio) / (SAMPLE_RATE[fmt] * SAMPLE_BYTES[fmt])


@lru_cache(maxsize=256)
def speech(seconds: float, fmt: AudioFormat = "audio/pcmu", seed: int = 0) -> bytes:
    """`seconds` of sound with the loudness and rhythm of speech (a voiced buzz in syllables); `seed` sets the pitch.

    It carries no words: the fakes take the words from the script, and voice-activity detection needs only energy.
    """
    rate = SAMPLE_RATE[fmt]
    count = round(seconds * rate)
    time = np.arange(count) / rate
    pitch = 110 + np.random.default_rng(seed).uniform(0, 80)
    voice = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in (1, 2, 3, 5))
    syllables = 0.65 + 0.35 * np.sin(2 * np.pi * 4 * time)
    samples: Pcm = np.round(6000 * voice * syllables).astype(np.int16)
    return encode(samples, fmt)


def speech_frames(seconds: float, seed: int = 0, fmt: AudioFormat = "audio/pcmu") -> tuple[bytes, ...]:
    """Speech cut into whole frames of 20 ms: 160 bytes each in mu-law, as in Media Streams."""
    audio = speech(max(1, round(seconds / FRAME_S)) * FRAME_S, fmt, seed)
    size = round(FRAME_S * SAMPLE_RATE[fmt] * SAMPLE_BYTES[fmt])
    return tuple(audio[i : i + size] for i in range(0, len(audio), size))
