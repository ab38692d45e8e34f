"""One response of the model, from `response.created` to `response.done`.

`plan` is a generator that yields the server events in order, and between them numbers: seconds of call time to wait
before the next event. `cancel` ends a response early and returns the events that say so.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Literal

from leakline.fakes.audio import SAMPLE_BYTES, SAMPLE_RATE, AudioFormat, seconds_of, speech
from leakline.fakes.openai.conversation import Conversation, Event, Numbering, copy_of
from leakline.fakes.openai.script import FunctionCall, ModelScript, Turn

Status = Literal["in_progress", "completed", "cancelled"]
CancelReason = Literal["turn_detected", "client_cancelled"]


@lru_cache(maxsize=128)
def _audio_chunks(seconds: float, fmt: AudioFormat, chunk_s: float) -> tuple[tuple[float, str], ...]:
    """(length in seconds, base64) of each delta: encoded once, since every call says the same."""
    audio = speech(seconds, fmt)
    size = max(1, round(chunk_s * SAMPLE_RATE[fmt])) * SAMPLE_BYTES[fmt]
    return tuple(
        (seconds_of(part, fmt), base64.b64encode(part).decode("ascii"))
        for part in (audio[i : i + size] for i in range(0, len(audio), size))
    )


class Response:
    """A response in progress in a session.

    Args:
        session: the session's configuration, as in `session.updated`.
        options: the `response` object of the client's `response.create`, which overrides the configuration.
    """

    def __init__(
        self,
        turn: Turn,
        script: ModelScript,
        *,
        session: dict[str, Any],
        options: dict[str, Any],
        ids: Numbering,
        conversation: Conversation,
    ) -> None:
        self.id = ids.id("resp")
        self._turn = turn
        self._script = script
        self._ids = ids
        self._conversation = conversation
        self._in_conversation = options.get("conversation") != "none"
        self._metadata = options.get("metadata")
        modalities = options.get("output_modalities") or session["output_modalities"]
        self._modality = "text" if modalities == ["text"] else "audio"
        self._audio = session["audio"]["output"]
        self._max_output_tokens = session["max_output_tokens"]
        self._output: list[Event] = []
        self._open_item: Event | None = None
        self._spoken_s = 0.0
        self.plan = self._run()

    def created(self) -> list[Event]:
        """The events that announce the response."""
        rate_limits = [
            {"name": "requests", "limit": 1000, "remaining": 999, "reset_seconds": 0.06},
            {"name": "tokens", "limit": 200_000, "remaining": 199_000, "reset_seconds": 0.3},
        ]
        return [
            self._ids.event("response.created", response=self._body("in_progress")),
            self._ids.event("rate_limits.updated", rate_limits=rate_limits),
        ]

    def cancel(self, reason: CancelReason) -> list[Event]:
        """End the response before its plan is finished; returns the events that say so."""
        events: list[Event] = []
        if self._open_item is not None:
            if self._open_item.get("content"):
                events += self._end_content(self._open_item)
            events += self._close_item(self._open_item, "incomplete")
        return [*events, self._ids.event("response.done", response=self._body("cancelled", reason))]

    def _run(self) -> Iterator[Event | float]:
        yield self._script.first_byte_s
        if self._turn.transcript or not self._turn.calls:
            yield from self._message()
        for call in self._turn.calls:
            yield from self._function_call(call)
        yield self._ids.event("response.done", response=self._body("completed"))

    def _message(self) -> Iterator[Event | float]:
        item: Event = {
            "id": self._ids.id("item"),
            "object": "realtime.item",
            "type": "message",
            "status": "in_progress",
            "role": "assistant",
            "content": [],
        }
        yield from self._open(item)
        yield from self._write(item) if self._modality == "text" else self._speak(item)
        yield from self._end_content(item)
        yield from self._close_item(item, "completed")

    def _write(self, item: Event) -> Iterator[Event | float]:
        content = {"type": "output_text", "text": ""}
        item["content"] = [content]
        place = self._place(item)
        yield self._ids.event("response.content_part.added", **place, part={"type": "text", "text": ""})
        for word in self._turn.transcript.split(" "):
            yield 0.02
            delta = f" {word}" if content["text"] else word
            content["text"] += delta
            yield self._ids.event("response.output_text.delta", **place, delta=delta)

    def _speak(self, item: Event) -> Iterator[Event | float]:
        content = {"type": "output_audio", "transcript": ""}
        item["content"] = [content]
        place = self._place(item)
        part = {"type": "audio", "audio": "", "transcript": ""}
        yield self._ids.event("response.content_part.added", **place, part=part)
        chunks = _audio_chunks(self._turn.seconds, self._audio["format"]["type"], self._script.chunk_s)
        words = self._turn.transcript.split(" ")
        said = 0
        for index, (length_s, audio) in enumerate(chunks):
            upto = -(-len(words) * (index + 1) // len(chunks))
            if upto > said:
                delta = (" " if said else "") + " ".join(words[said:upto])
                content["transcript"] += delta
                said = upto
                yield self._ids.event("response.output_audio_transcript.delta", **place, delta=delta)
            self._spoken_s += length_s
            yield self._ids.event("response.output_audio.delta", **place, delta=audio)
            yield length_s / self._script.pace

    def _function_call(self, call: FunctionCall) -> Iterator[Event | float]:
        call_id = self._ids.id("call")
        item: Event = {
            "id": self._ids.id("item"),
            "object": "realtime.item",
            "type": "function_call",
            "status": "in_progress",
            "call_id": call_id,
            "name": call.name,
            "arguments": "",
        }
        yield from self._open(item)
        place = {**self._place(item), "call_id": call_id}
        del place["content_index"]
        arguments = item["arguments"] = call.arguments_json
        yield self._ids.event("response.function_call_arguments.delta", **place, delta=arguments)
        yield self._ids.event("response.function_call_arguments.done", **place, name=call.name, arguments=arguments)
        yield from self._close_item(item, "completed")

    def _open(self, item: Event) -> list[Event]:
        self._open_item = item
        events = [self._ids.event("response.output_item.added", **self._index(), item=copy_of(item))]
        if self._in_conversation:
            previous = self._conversation.add(item)
            events.append(self._ids.event("conversation.item.added", item=copy_of(item), previous_item_id=previous))
        return events

    def _end_content(self, item: Event) -> list[Event]:
        place = self._place(item)
        content = item["content"][0]
        if content["type"] == "output_text":
            part = {"type": "text", "text": content["text"]}
            ends = [self._ids.event("response.output_text.done", **place, text=content["text"])]
        else:
            transcript = content["transcript"]
            part = {"type": "audio", "transcript": transcript}
            ends = [
                self._ids.event("response.output_audio.done", **place),
                self._ids.event("response.output_audio_transcript.done", **place, transcript=transcript),
            ]
        return [*ends, self._ids.event("response.content_part.done", **place, part=part)]

    def _close_item(self, item: Event, status: Literal["completed", "incomplete"]) -> list[Event]:
        item["status"] = status
        events = []
        if self._in_conversation:
            previous = self._conversation.before(item["id"])
            events.append(self._ids.event("conversation.item.done", item=copy_of(item), previous_item_id=previous))
        events.append(self._ids.event("response.output_item.done", **self._index(), item=copy_of(item)))
        self._output.append(item)
        self._open_item = None
        return events

    def _index(self) -> Event:
        return {"response_id": self.id, "output_index": len(self._output)}

    def _place(self, item: Event) -> Event:
        return {**self._index(), "item_id": item["id"], "content_index": 0}

    def _body(self, status: Status, reason: CancelReason | None = None) -> Event:
        details = {"type": status, "reason": reason} if status == "cancelled" else None
        conversation_id = f"conv_{self._ids.session_number:08d}" if self._in_conversation else None
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": details,
            "output": [copy_of(item) for item in self._output],
            "conversation_id": conversation_id,
            "output_modalities": [self._modality],
            "max_output_tokens": self._max_output_tokens,
            "audio": {"output": {"format": self._audio["format"], "voice": self._audio["voice"]}},
            "usage": None if status == "in_progress" else self._usage(),
            "metadata": self._metadata,
        }

    def _usage(self) -> Event:
        """Plausible token counts: how the service counts is not public."""
        audio_tokens = round(self._spoken_s * 20)
        text_tokens = len(self._turn.transcript.split()) + 20 * len(self._turn.calls)
        no_tokens = {"text_tokens": 0, "audio_tokens": 0, "image_tokens": 0}
        return {
            "total_tokens": audio_tokens + text_tokens + 50,
            "input_tokens": 50,
            "output_tokens": audio_tokens + text_tokens,
            "input_token_details": {
                "text_tokens": 30,
                "audio_tokens": 20,
                "image_tokens": 0,
                "cached_tokens": 0,
                "cached_tokens_details": no_tokens,
            },
            "output_token_details": {"text_tokens": text_tokens, "audio_tokens": audio_tokens},
        }
