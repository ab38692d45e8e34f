"""Audio as files: in memory, and on disk while it is uploaded."""

from __future__ import annotations

import struct
import tempfile
from io import BytesIO
from pathlib import Path

_MULAW, _RATE = 7, 8000


def wav(audio: bytes) -> bytes:
    """A WAV file of mu-law audio at 8 kHz (format tag 7 of RFC 2361)."""
    fmt = struct.pack("<HHIIHHH", _MULAW, 1, _RATE, _RATE, 1, 8, 0)
    fact = struct.pack("<I", len(audio))
    body = b"WAVE" + _chunk(b"fmt ", fmt) + _chunk(b"fact", fact) + _chunk(b"data", audio)
    return _chunk(b"RIFF", body)


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def to_stream(data: bytes, name: str) -> BytesIO:
    """`data` as a file in memory; an upload takes its type from the name."""
    stream = BytesIO(data)
    stream.name = name
    return stream


def to_temp_file(data: bytes, suffix: str) -> Path:
    """`data` in a new temporary file, which the caller must delete."""
    with tempfile.NamedTemporaryFile(prefix="grill-", suffix=suffix, delete=False) as file:
        file.write(data)
    return Path(file.name)
