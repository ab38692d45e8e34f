"""One Realtime session as a Sans-I/O state machine.

The I/O shell passes in what the client sent (`receive`) and the time (`advance`); the session returns the server
events to send, and says when it next has events to send (`wake_at`). It knows no socket and no clock: time is
seconds of call time, from any origin.

The protocol is the GA dialect of the Realtime API; events and their fields are those of `types/realtime/`
in the OpenAI SDK. What the model says comes from a `ModelScript`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from leakline.fakes.audio import AudioFormat, seconds_of, tag_in
from leakline.fakes.openai.conversation import Conversation, Event, Numbering, copy_of
from leakline.fakes.openai.errors import ClientError
from leakline.fakes.openai.response import CancelReason, Response
from leakline.fakes.openai.script import FILLER, ModelScript
from leakline.fakes.openai.session import (
    audio_of,
    default_session,
    parse_event,
    updated_session,
    vad_settings,
)
from leakline.fakes.openai.vad import ServerVad

_MIN_COMMIT_MS = 100
"""Shortest audio that can be committed, in milliseconds (the service's own error message says so)."""
_ITEM_TYPES = ("message", "function_call", "function_call_output")


class RealtimeSession:
    """The server's end of one Realtime connection.

    Args:
        number: the ids of the session are made from it; give each session its own.
        expires_at: Unix seconds at which the session ends, as announced to the client.
    """

    def __init__(self, script: ModelScript, *, model: str, number: int = 1, expires_at: int = 0) -> None:
        self.wake_at: float | None = None
        """Call time at which `advance` next has events to send, or None."""
        self.caller: int | None = None
        """The call's number that the caller's audio carries (`fakes.audio.tagged_silence`); None before."""
        self._script = script
        self._turns = iter(script.turns)
        self._hears = iter(script.hears)
        self._ids = Numbering(number)
        self._session = default_session(f"sess_{number:08d}", model, expires_at)
        self._conversation = Conversation()
        self._vad = ServerVad()
        self._speech_item_id: str | None = None
        self._buffered_ms = 0.0
        self._idle_from_ms = 0.0
        self._response: Response | None = None
        self._handlers: dict[str, Callable[[Event, float], list[Event]]] = {
            "session.update": self._session_update,
            "input_audio_buffer.append": self._append,
            "input_audio_buffer.commit": self._commit,
            "input_audio_buffer.clear": self._clear,
            "conversation.item.create": self._item_create,
            "conversation.item.retrieve": self._item_retrieve,
            "conversation.item.delete": self._item_delete,
            "conversation.item.truncate": self._item_truncate,
            "response.create": self._response_create,
            "response.cancel": self._response_cancel,
        }

    @property
    def id(self) -> str:
        """The session's id."""
        return str(self._session["id"])

    @property
    def _answers(self) -> bool:
        """Whether the session creates responses; a transcription session does not."""
        return bool(self._session["type"] == "realtime")

    def start(self) -> list[Event]:
        """The events that a new connection begins with."""
        return [self._ids.event("session.created", session=copy_of(self._session))]

    def receive(self, message: str | bytes, now: float) -> list[Event]:
        """Take one client message; returns the server events that answer it at once.

        A mistake of the client is answered with an `error` event and leaves the session open.
        """
        event_id = None
        try:
            event = parse_event(message)
            event_id = event.get("event_id")
            handler = self._handlers.get(event["type"])
            if handler is None:
                known = ", ".join(f"'{name}'" for name in self._handlers)
                raise ClientError(
                    f"Invalid value: '{event['type']}'. Supported values are: {known}.",
                    code="invalid_value",
                    param="type",
                )
            return handler(event, now)
        except ClientError as error:
            return [self.error(error, event_id)]

    def error(self, error: ClientError, event_id: object) -> Event:
        """The `error` event for a mistake in the client event `event_id`."""
        return self._ids.event(
            "error", error={**error.body, "event_id": event_id if isinstance(event_id, str) else None}
        )

    def conversation_created(self) -> Event:
        """The event that announces the conversation, which the beta dialect sends."""
        conversation = {"id": f"conv_{self._ids.session_number:08d}", "object": "realtime.conversation"}
        return self._ids.event("conversation.created", conversation=conversation)

    def advance(self, now: float) -> list[Event]:
        """The events of the response in progress that are due by `now`."""
        events: list[Event] = []
        while self._response is not None and self.wake_at is not None and self.wake_at <= now:
            for step in self._response.plan:
                if isinstance(step, float):
                    self.wake_at += step
                    break
                events.append(step)
            else:
                self._response = self.wake_at = None
        return events

    # -- the session and its audio

    def _session_update(self, event: Event, _now: float) -> list[Event]:
        self._session = updated_session(self._session, event.get("session"))
        vad = self._vad
        vad.threshold, vad.prefix_padding_ms, vad.silence_duration_ms = vad_settings(self._session)
        self._idle_from_ms = vad.position_ms
        return [self._ids.event("session.updated", session=copy_of(self._session))]

    def _append(self, event: Event, now: float) -> list[Event]:
        audio = audio_of(event)
        heard = self._session["audio"]["input"]
        fmt: AudioFormat = heard["format"]["type"]
        self._buffered_ms += 1000 * seconds_of(audio, fmt)
        if self.caller is None and fmt == "audio/pcmu":
            self.caller = tag_in(audio)
        detection = heard["turn_detection"]
        events: list[Event] = []
        if detection is not None:
            for change in self._vad.push(audio, fmt):
                react = self._speech_started if change.kind == "started" else self._speech_stopped
                events += react(change.at_ms, detection, now)
            if detection.get("idle_timeout_ms") is not None:
                events += self._idle(detection, now)
        return events

    def _idle(self, detection: dict[str, Any], now: float) -> list[Event]:
        """After `idle_timeout_ms` without speech or a response, the model responds by itself."""
        limit_ms = detection["idle_timeout_ms"]
        if self._vad.speaking or self._response is not None:
            self._idle_from_ms = self._vad.position_ms
        quiet_ms = self._vad.position_ms - self._idle_from_ms
        if quiet_ms < limit_ms:
            return []
        item_id = self._ids.id("item")
        span = {"audio_start_ms": int(self._idle_from_ms), "audio_end_ms": int(self._vad.position_ms)}
        self._idle_from_ms = self._vad.position_ms
        triggered = self._ids.event("input_audio_buffer.timeout_triggered", **span, item_id=item_id)
        return [triggered, *self._committed(item_id), *(self._begin_response({}, now) if self._answers else [])]

    def _speech_started(self, at_ms: int, detection: dict[str, Any], _now: float) -> list[Event]:
        item_id = self._speech_item_id = self._ids.id("item")
        started = self._ids.event("input_audio_buffer.speech_started", audio_start_ms=at_ms, item_id=item_id)
        if self._response is None or detection.get("interrupt_response") is False:
            return [started]
        return [started, *self._cancel(self._response, "turn_detected")]

    def _speech_stopped(self, at_ms: int, detection: dict[str, Any], now: float) -> list[Event]:
        item_id = self._speech_item_id or self._ids.id("item")
        events = [self._ids.event("input_audio_buffer.speech_stopped", audio_end_ms=at_ms, item_id=item_id)]
        events += self._committed(item_id)
        if self._answers and self._response is None and detection.get("create_response") is not False:
            events += self._begin_response({}, now)
        return events

    def _commit(self, _event: Event, _now: float) -> list[Event]:
        if self._buffered_ms < _MIN_COMMIT_MS:
            raise ClientError(
                "Error committing input audio buffer: buffer too small. Expected at least "
                f"{_MIN_COMMIT_MS}ms of audio, but buffer only has {self._buffered_ms:.2f}ms of audio.",
                code="input_audio_buffer_commit_empty",
            )
        return self._committed(self._speech_item_id or self._ids.id("item"))

    def _committed(self, item_id: str) -> list[Event]:
        self._buffered_ms, self._speech_item_id = 0.0, None
        content = {"type": "input_audio", "transcript": None}
        item: Event = {
            "id": item_id,
            "object": "realtime.item",
            "type": "message",
            "status": "completed",
            "role": "user",
            "content": [content],
        }
        previous = self._conversation.add(item)
        events = [
            self._ids.event("input_audio_buffer.committed", item_id=item_id, previous_item_id=previous),
            *self._item_events(item, previous),
        ]
        transcript = next(self._hears, "")
        if self._session["audio"]["input"].get("transcription") is not None:
            content["transcript"] = transcript
            events += self._transcription(item_id, transcript)
        return events

    def _transcription(self, item_id: str, transcript: str | None) -> list[Event]:
        kind = "conversation.item.input_audio_transcription"
        place = {"item_id": item_id, "content_index": 0}
        if transcript is None:
            error = {
                "type": "server_error",
                "code": "audio_unintelligible",
                "message": "The audio could not be transcribed.",
                "param": None,
            }
            return [self._ids.event(f"{kind}.failed", **place, error=error)]
        usage = {"type": "duration", "seconds": 1.0}
        deltas = [self._ids.event(f"{kind}.delta", **place, delta=transcript)] if transcript else []
        return [*deltas, self._ids.event(f"{kind}.completed", **place, transcript=transcript, usage=usage)]

    def _clear(self, _event: Event, _now: float) -> list[Event]:
        self._buffered_ms = 0.0
        return [self._ids.event("input_audio_buffer.cleared")]

    # -- the conversation

    def _item_create(self, event: Event, _now: float) -> list[Event]:
        given = event.get("item")
        if not isinstance(given, dict) or given.get("type") not in _ITEM_TYPES:
            raise ClientError(
                f"Invalid value for 'item.type': expected one of {', '.join(_ITEM_TYPES)}.",
                code="invalid_value",
                param="item.type",
            )
        item = {**copy_of(given), "object": "realtime.item", "status": "completed"}
        if not isinstance(item.get("id"), str):
            item["id"] = self._ids.id("item")
        return self._item_events(item, self._conversation.add(item, event.get("previous_item_id")))

    def _item_events(self, item: Event, previous: str | None) -> list[Event]:
        return [
            self._ids.event(kind, item=copy_of(item), previous_item_id=previous)
            for kind in ("conversation.item.added", "conversation.item.done")
        ]

    def _item_retrieve(self, event: Event, _now: float) -> list[Event]:
        item = self._conversation.get(event.get("item_id"))
        return [self._ids.event("conversation.item.retrieved", item=copy_of(item))]

    def _item_delete(self, event: Event, _now: float) -> list[Event]:
        item = self._conversation.remove(event.get("item_id"))
        return [self._ids.event("conversation.item.deleted", item_id=item["id"])]

    def _item_truncate(self, event: Event, _now: float) -> list[Event]:
        item = self._conversation.get(event.get("item_id"))
        end_ms = event.get("audio_end_ms")
        if item.get("role") != "assistant" or not isinstance(end_ms, int) or end_ms < 0:
            raise ClientError(
                "Only audio of an assistant message can be truncated, at an 'audio_end_ms' of 0 or more.",
                code="invalid_value",
                param="audio_end_ms",
            )
        place = {"item_id": item["id"], "content_index": 0, "audio_end_ms": end_ms}
        return [self._ids.event("conversation.item.truncated", **place)]

    # -- responses

    def _response_create(self, event: Event, now: float) -> list[Event]:
        if self._response is not None:
            raise ClientError(
                f"Conversation already has an active response in progress: {self._response.id}. "
                "Wait until the response is finished before creating a new one.",
                code="conversation_already_has_active_response",
            )
        if not self._answers:
            raise ClientError("A transcription session creates no responses.", code="invalid_value", param="type")
        options = event.get("response") or {}
        if not isinstance(options, dict):
            raise ClientError(
                "Invalid type for 'response': expected an object.", code="invalid_type", param="response"
            )
        return self._begin_response(options, now)

    def _begin_response(self, options: dict[str, Any], now: float) -> list[Event]:
        self._response = Response(
            next(self._turns, FILLER),
            self._script,
            session=self._session,
            options=options,
            ids=self._ids,
            conversation=self._conversation,
        )
        self.wake_at = now
        return self._response.created()

    def _response_cancel(self, event: Event, _now: float) -> list[Event]:
        wanted = event.get("response_id")
        if self._response is None or wanted not in (None, self._response.id):
            raise ClientError("Cancellation failed: no active response found", code="response_cancel_not_active")
        return self._cancel(self._response, "client_cancelled")

    def _cancel(self, response: Response, reason: CancelReason) -> list[Event]:
        self._response = self.wake_at = None
        return response.cancel(reason)
