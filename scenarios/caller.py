"""Who calls, and over which network: a telephone on a poor network, or a page in a browser."""

from __future__ import annotations

from dataclasses import dataclass

from leakline.fakes.audio import AudioFormat

MOST_JITTER_S = 5.0
"""Highest `Network.jitter_s`."""

PAYLOAD = "{payload}"
"""Where the audio goes in the text of a browser's message."""


@dataclass(frozen=True)
class Network:
    """A poor network of the caller, as the server sees it through Twilio: media in bursts, and missing media.

    Its random delays and losses are seeded by the call's number, so that a run can be repeated.
    """

    jitter_s: float = 0.0
    """Longest time for which messages are held back, about once a second, before all are sent at once. Call time."""
    loss: float = 0.0
    """Share of the caller's frames that are lost, from 0 to 1; the next one's `timestamp` shows the gap."""


@dataclass(frozen=True)
class Browser:
    """A page that calls over a WebSocket with a protocol of the server's own, of which this says what is sent."""

    path: str
    """Path of the WebSocket on the server, such as `/voice`; host and port are those of the server's URL."""
    audio: str = ""
    """Text message for 20 ms of audio, with `{payload}` in place of its base64; empty for binary messages."""
    format: AudioFormat = "audio/pcmu"
    """Encoding of the audio, in both directions."""
