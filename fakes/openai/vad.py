"""Server VAD by the actual energy of the audio.

How the service detects speech is not public. The fake maps the loudness of each 20 ms from -60 dBFS (0.0) to -10 dBFS
(1.0) and compares it with the session's `threshold`. The settings and their defaults are those of
`types/realtime/realtime_audio_input_turn_detection.py` in the OpenAI SDK.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from leakline.fakes.audio import SAMPLE_BYTES, SAMPLE_RATE, AudioFormat, Pcm, decode

WINDOW_S = 0.02
"""Length of audio whose loudness is taken together, in seconds."""
_FLOOR_DBFS, _RANGE_DB = -60.0, 50.0
"""Loudness that maps to 0.0, and how much above it maps to 1.0."""
_ONSET_MS = 40.0
"""How long audio must be loud to be speech: a click is not."""


@dataclass(frozen=True, slots=True)
class VadEvent:
    """Speech started or stopped."""

    kind: Literal["started", "stopped"]
    at_ms: int
    """Position in all audio of the session, in milliseconds."""


def loudness(samples: Pcm) -> float:
    """Loudness of `samples` from 0.0 (-60 dBFS and below) to 1.0 (-10 dBFS and above)."""
    power = _power(samples)
    if power < 1.0:
        return 0.0
    dbfs = 10 * math.log10(power / 32768.0**2)
    return min(1.0, max(0.0, (dbfs - _FLOOR_DBFS) / _RANGE_DB))


def _power(samples: Pcm) -> float:
    """Mean square of `samples`."""
    if not len(samples):
        return 0.0
    wide = samples.astype(np.float32)
    return float(np.dot(wide, wide)) / len(wide)


@lru_cache(maxsize=1024)
def _loudness_of(window: bytes, fmt: AudioFormat) -> float:
    """Loudness of one window of encoded audio; cached, since scripted callers send the same frames in every call."""
    return loudness(decode(window, fmt))


class ServerVad:
    """Finds where speech starts and stops in audio as it is appended. Time is the position in the audio."""

    def __init__(
        self, *, threshold: float = 0.5, prefix_padding_ms: int = 300, silence_duration_ms: int = 500
    ) -> None:
        self.threshold = threshold
        self.prefix_padding_ms = prefix_padding_ms
        self.silence_duration_ms = silence_duration_ms
        self.speaking = False
        self.position_ms = 0.0
        """Length of all audio seen, in milliseconds."""
        self._loud_ms = 0.0
        self._quiet_ms = 0.0

    def push(self, audio: bytes, fmt: AudioFormat) -> list[VadEvent]:
        """Take the next audio, encoded as `fmt`; returns where speech started or stopped in it."""
        bytes_a_ms = SAMPLE_RATE[fmt] * SAMPLE_BYTES[fmt] / 1000
        window = int(1000 * WINDOW_S * bytes_a_ms)
        events = []
        for start in range(0, len(audio), window):
            piece = audio[start : start + window]
            event = self._window(_loudness_of(piece, fmt) >= self.threshold, len(piece) / bytes_a_ms)
            if event is not None:
                events.append(event)
        return events

    def _window(self, loud: bool, length_ms: float) -> VadEvent | None:
        self.position_ms += length_ms
        if loud:
            self._loud_ms += length_ms
            self._quiet_ms = 0.0
            if not self.speaking and self._loud_ms >= _ONSET_MS:
                self.speaking = True
                return VadEvent("started", max(0, int(self.position_ms - self._loud_ms - self.prefix_padding_ms)))
            return None
        self._loud_ms = 0.0
        self._quiet_ms += length_ms
        if self.speaking and self._quiet_ms >= self.silence_duration_ms:
            self.speaking = False
            return VadEvent("stopped", int(self.position_ms))
        return None
