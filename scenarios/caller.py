"""Who calls, and over what: a telephone on a network that is not good, or a page in a browser."""

from __future__ import annotations

from dataclasses import dataclass

from leakline.fakes.audio import AudioFormat

MOST_JITTER_S = 5.0

PAYLOAD = "{payload}"
"""Where the audio goes in the text of a browser's message."""


@dataclass(frozen=True)
class Network:
    """The telephone's network, as the server sees it behind Twilio: media in bursts, and media that is missing.

    What happens to a call depends on its number alone: a run can be repeated.
    """

    jitter_s: float = 0.0
    """The longest that messages are held back, about once a second; then they come all at once. Call time."""
    loss: float = 0.0
    """The share of the caller's frames that never come: the next one's `timestamp` tells of the gap."""


@dataclass(frozen=True)
class Browser:
    """A page that talks to the server's own WebSocket. There is no standard for that: this says what it sends."""

    path: str
    """Of the WebSocket on the server, such as `/voice`; the rest of the address is that of the calls."""
    audio: str = ""
    """The text message of 20 ms of audio, with `{payload}` for its base64; without one it goes as it is, binary."""
    format: AudioFormat = "audio/pcmu"
