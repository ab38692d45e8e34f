"""Twilio's end of one bidirectional Media Stream as a Sans-I/O state machine.

It makes the messages that Twilio sends (connected, start, media, mark, dtmf, stop), reads those that the server sends
(media, mark, clear), and keeps track of the playback of the server's audio by the time that it is given: a mark is
returned when the audio before it has played; `clear` empties the buffer and returns the marks at once.

Messages are those of Twilio's docs, "Media Streams - WebSocket Messages". Time is seconds of call time.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from leakline.fakes.audio import FRAME_S, SAMPLE_RATE, SILENCE_FRAME

_BYTES_A_SECOND = SAMPLE_RATE["audio/pcmu"]
_FRAME_MS = round(FRAME_S * 1000)
_SILENCE = base64.b64encode(SILENCE_FRAME).decode("ascii")


class StreamError(Exception):
    """The server sent a message that is not valid in a Media Stream."""


@dataclass(frozen=True)
class StreamIds:
    """The SIDs of one call and its stream; the same number gives the same SIDs in every run."""

    account_sid: str
    call_sid: str
    stream_sid: str

    @classmethod
    def numbered(cls, number: int) -> StreamIds:
        """SIDs in Twilio's format: two letters and 32 hexadecimal digits."""
        return cls(f"AC{1:032x}", f"CA{number:032x}", f"MZ{number:032x}")

    @property
    def number(self) -> int:
        """The last 64 bits of the call's SID."""
        return int(self.call_sid[-16:], 16)


@dataclass(slots=True)
class MediaStream:
    """One stream, from `open` to `stop`."""

    ids: StreamIds
    custom_parameters: Mapping[str, str] = field(default_factory=dict)
    tracks: tuple[str, ...] = ("inbound",)
    """Which sides of the call are sent: `inbound` is the caller, `outbound` what the caller hears."""
    heard_s: float = 0.0
    """Seconds of audio received from the server so far."""
    cleared_s: float = 0.0
    """Seconds of that audio which `clear` discarded unplayed."""
    playing_until: float = 0.0
    """Time at which all the audio received so far has played."""
    marks: deque[tuple[float, str]] = field(default_factory=deque)
    """The server's marks that are not yet returned: (time at which the audio before it has played, name)."""
    _sequence: int = 0
    _chunk: int = 0
    _lost: int = 0
    _ending: str = ""
    _sid: str = ""

    def __post_init__(self) -> None:
        self._sid = self.ids.stream_sid
        self._ending = f'"streamSid":"{self.ids.stream_sid}"}}'

    def open(self) -> list[str]:
        """The messages that begin the stream."""
        connected = {"event": "connected", "protocol": "Call", "version": "1.0.0"}
        start = {
            "accountSid": self.ids.account_sid,
            "streamSid": self.ids.stream_sid,
            "callSid": self.ids.call_sid,
            "tracks": list(self.tracks),
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": dict(self.custom_parameters),
        }
        return [_json(connected), self._message("start", start=start)]

    def media(self, payload: str) -> list[str]:
        """One 20 ms frame of each track: the caller's is `payload`, base64 mu-law, the outbound one is silence."""
        timestamp_ms = (self._chunk + self._lost) * _FRAME_MS
        self._chunk += 1
        messages = []
        for track in self.tracks:
            self._sequence += 1
            # Not with a JSON encoder, for speed: 50 of them a second in each of a thousand calls.
            messages.append(
                f'{{"event":"media","sequenceNumber":"{self._sequence}","media":{{"track":"{track}",'
                f'"chunk":"{self._chunk}","timestamp":"{timestamp_ms}",'
                f'"payload":"{payload if track == "inbound" else _SILENCE}"}},{self._ending}'
            )
        return messages

    def lose(self) -> None:
        """Skip a frame that the network lost: the next one's timestamp is 20 ms later."""
        self._lost += 1

    def dtmf(self, digit: str) -> str:
        """The message for a key that the caller pressed."""
        return self._message("dtmf", dtmf={"track": "inbound_track", "digit": digit})

    def stop(self) -> list[str]:
        """The last message: the stream or the call has ended."""
        stop = {"accountSid": self.ids.account_sid, "callSid": self.ids.call_sid}
        return [self._message("stop", stop=stop)]

    def receive(self, message: str | bytes, now: float) -> list[str]:
        """Take one message of the server; returns the messages that answer it at once.

        Raises StreamError, naming what was wrong, for a message that Twilio would refuse.
        """
        try:  # the fast path: nearly all messages are audio
            event = orjson.loads(message)
            is_audio = event["event"] == "media" and event["streamSid"] == self._sid
            audio = binascii.a2b_base64(event["media"]["payload"], strict_mode=True) if is_audio else b""
        except (ValueError, LookupError, TypeError):
            audio = b""
        if audio:
            length_s = len(audio) / _BYTES_A_SECOND
            self.heard_s += length_s
            self.playing_until = max(self.playing_until, now) + length_s
            return []
        event = _parse(message, self._sid)
        if event["event"] == "media":
            return []  # with empty audio
        if event["event"] == "mark":
            self.marks.append((max(now, self.playing_until), _mark_name(event)))
            return []
        self.cleared_s += max(0.0, self.playing_until - now)
        self.playing_until = now
        names = [name for _, name in self.marks]
        self.marks.clear()
        return [self._mark(name) for name in names]

    def played(self, now: float) -> list[str]:
        """The marks whose audio has played by `now`."""
        messages: list[str] = []
        while self.marks and self.marks[0][0] <= now:
            messages.append(self._mark(self.marks.popleft()[1]))
        return messages

    def _mark(self, name: str) -> str:
        return self._message("mark", mark={"name": name})

    def _message(self, event: str, **fields: Any) -> str:
        self._sequence += 1
        return _json(
            {
                "event": event,
                "sequenceNumber": str(self._sequence),
                **fields,
                "streamSid": self.ids.stream_sid,
            }
        )


def _json(message: dict[str, Any]) -> str:
    return json.dumps(message, separators=(",", ":"))


def _parse(message: str | bytes, stream_sid: str) -> dict[str, Any]:
    try:
        event = orjson.loads(message)
    except ValueError:
        raise StreamError(f"expected a JSON object, found {_shown(message)}") from None
    if not isinstance(event, dict):
        raise StreamError(f"expected a JSON object, found {_shown(message)}")
    if event.get("event") not in ("media", "mark", "clear"):
        raise StreamError(f"event: expected media, mark or clear, found {event.get('event')!r}")
    if event.get("streamSid") != stream_sid:
        raise StreamError(f"streamSid: expected {stream_sid!r}, found {event.get('streamSid')!r}")
    if event["event"] == "media":
        _check_payload(event)
    return event


def _check_payload(event: dict[str, Any]) -> None:
    media = event.get("media")
    payload = media.get("payload") if isinstance(media, dict) else None
    if not isinstance(payload, str):
        raise StreamError("media.payload: expected base64 mu-law audio, found none")
    try:
        binascii.a2b_base64(payload, strict_mode=True)
    except (binascii.Error, ValueError):
        raise StreamError(f"media.payload: expected base64 mu-law audio, found {_shown(payload)}") from None


def _mark_name(event: dict[str, Any]) -> str:
    mark = event.get("mark")
    name = mark.get("name") if isinstance(mark, dict) else None
    if not isinstance(name, str):
        raise StreamError(f"mark.name: expected a string, found {name!r}")
    return name


def _shown(message: str | bytes) -> str:
    return repr(message[:60]) if isinstance(message, str) else f"{len(message)} bytes"
