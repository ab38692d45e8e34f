"""The beta dialect of the Realtime API (`OpenAI-Beta: realtime=v1`), translated to and from the GA session.

The beta's flat session fields become the GA's nested ones, and server events get their old names. Fields and events
are those of `types/beta/realtime/` in the OpenAI SDK.
"""

from __future__ import annotations

import json
from typing import Any

from leakline.fakes.openai.conversation import Event
from leakline.fakes.openai.errors import ClientError
from leakline.fakes.openai.realtime import RealtimeSession
from leakline.fakes.openai.session import parse_event

_FORMATS = {"pcm16": "audio/pcm", "g711_ulaw": "audio/pcmu", "g711_alaw": "audio/pcma"}
_OLD_FORMATS = {new: old for old, new in _FORMATS.items()}
_SAME = ("instructions", "tools", "tool_choice", "tracing")
_INPUT = {
    "input_audio_transcription": "transcription",
    "input_audio_noise_reduction": "noise_reduction",
    "turn_detection": "turn_detection",
}
_OLD_NAMES = {
    "conversation.item.added": "conversation.item.created",
    "response.output_audio.delta": "response.audio.delta",
    "response.output_audio.done": "response.audio.done",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
    "response.output_audio_transcript.done": "response.audio_transcript.done",
    "response.output_text.delta": "response.text.delta",
    "response.output_text.done": "response.text.done",
}
_NEW_ONLY = ("conversation.item.done",)
_OLD_CONTENT = {"output_text": "text", "output_audio": "audio"}


class BetaSession:
    """A `RealtimeSession` with the events of the beta dialect."""

    def __init__(self, session: RealtimeSession) -> None:
        self._session = session
        self._temperature = 0.8

    @property
    def wake_at(self) -> float | None:
        """Call time at which `advance` next has events to send, or None."""
        return self._session.wake_at

    @property
    def caller(self) -> int | None:
        """The call's number that the caller's audio carries; None before it is received."""
        return self._session.caller

    def start(self) -> list[Event]:
        """The events that a new connection begins with."""
        return [*self._out(self._session.start()), self._session.conversation_created()]

    def receive(self, message: str | bytes, now: float) -> list[Event]:
        """Take one client message; returns the server events that answer it at once."""
        try:
            event = parse_event(message)
        except ClientError:
            return self._session.receive(message, now)  # which answers with the error
        try:
            translated = self._in(event)
        except ClientError as error:
            return [self._session.error(error, event.get("event_id"))]
        return self._out(self._session.receive(json.dumps(translated), now))

    def advance(self, now: float) -> list[Event]:
        """The events of the response in progress that are due by `now`."""
        return self._out(self._session.advance(now))

    def _in(self, event: Event) -> Event:
        if event["type"] == "session.update":
            return {**event, "session": self._session_in(event.get("session"))}
        options = event.get("response")
        if event["type"] == "response.create" and isinstance(options, dict) and "modalities" in options:
            return {**event, "response": {**options, "output_modalities": _modalities(options["modalities"])}}
        return event

    def _session_in(self, flat: object) -> object:
        if not isinstance(flat, dict):
            return flat
        change: dict[str, Any] = {"type": "realtime"}
        sides: dict[str, dict[str, Any]] = {"input": {}, "output": {}}
        for name, value in flat.items():
            if name in _SAME:
                change[name] = value
            elif name == "modalities":
                change["output_modalities"] = _modalities(value)
            elif name == "max_response_output_tokens":
                change["max_output_tokens"] = value
            elif name in ("voice", "speed"):
                sides["output"][name] = value
            elif name in ("input_audio_format", "output_audio_format"):
                sides[name.partition("_")[0]]["format"] = _format(name, value)
            elif name in _INPUT:
                sides["input"][_INPUT[name]] = value
            elif name == "temperature":
                self._temperature = _temperature(value)
            elif name not in ("client_secret", "model"):
                raise ClientError(
                    f"Unknown parameter: 'session.{name}'.", code="unknown_parameter", param=f"session.{name}"
                )
        change["audio"] = {side: settings for side, settings in sides.items() if settings}
        return change

    def _out(self, events: list[Event]) -> list[Event]:
        return [self._event_out(event) for event in events if event["type"] not in _NEW_ONLY]

    def _event_out(self, event: Event) -> Event:
        old = {**event, "type": _OLD_NAMES.get(event["type"], event["type"])}
        if "session" in old:
            old["session"] = self._session_out(old["session"])
        if "response" in old:
            old["response"] = self._response_out(old["response"])
        if "item" in old:
            old["item"] = _item_out(old["item"])
        return old

    def _session_out(self, session: Event) -> Event:
        heard, said = session["audio"]["input"], session["audio"]["output"]
        return {
            "id": session["id"],
            "object": "realtime.session",
            "model": session["model"],
            "expires_at": session["expires_at"],
            "modalities": _old_modalities(session["output_modalities"]),
            "instructions": session["instructions"],
            "voice": said["voice"],
            "speed": said.get("speed", 1.0),
            "input_audio_format": _OLD_FORMATS[heard["format"]["type"]],
            "output_audio_format": _OLD_FORMATS[said["format"]["type"]],
            "input_audio_transcription": heard.get("transcription"),
            "input_audio_noise_reduction": heard.get("noise_reduction"),
            "turn_detection": heard["turn_detection"],
            "tools": session["tools"],
            "tool_choice": session["tool_choice"],
            "temperature": self._temperature,
            "max_response_output_tokens": session["max_output_tokens"],
            "tracing": session["tracing"],
        }

    def _response_out(self, response: Event) -> Event:
        said = response["audio"]["output"]
        kept = (
            "object",
            "id",
            "status",
            "status_details",
            "conversation_id",
            "usage",
            "metadata",
            "max_output_tokens",
        )
        return {
            **{name: response[name] for name in kept},
            "output": [_item_out(item) for item in response["output"]],
            "modalities": _old_modalities(response["output_modalities"]),
            "voice": said["voice"],
            "output_audio_format": _OLD_FORMATS[said["format"]["type"]],
            "temperature": self._temperature,
        }


def _item_out(item: Event) -> Event:
    content = item.get("content")
    return {**item, "content": [_part_out(part) for part in content]} if isinstance(content, list) else item


def _part_out(part: object) -> object:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(part, dict) or not isinstance(kind, str):
        return part  # what the client put there itself
    return {**part, "type": _OLD_CONTENT.get(kind, kind)}


def _modalities(old: object) -> list[str]:
    return ["audio"] if isinstance(old, list) and "audio" in old else ["text"]


def _old_modalities(new: list[str]) -> list[str]:
    return ["text"] if new == ["text"] else ["audio", "text"]


def _format(name: str, value: object) -> dict[str, Any]:
    if not isinstance(value, str) or value not in _FORMATS:
        known = ", ".join(f"'{old}'" for old in _FORMATS)
        raise ClientError(
            f"Invalid value: {value!r}. Supported values are: {known}.", code="invalid_value", param=f"session.{name}"
        )
    return {"type": _FORMATS[value]} | ({"rate": 24_000} if value == "pcm16" else {})


def _temperature(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.6 <= value <= 1.2:
        raise ClientError(
            f"Invalid 'temperature': {value!r}. Expected a number from 0.6 to 1.2.",
            code="invalid_value",
            param="session.temperature",
        )
    return float(value)
