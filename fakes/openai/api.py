"""The HTTP API without a socket: a request's path and body in, the answer's bytes out.

The server (`server.py`) and the in-process routes (`in_process.py`) are both shells around it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count, cycle
from time import time
from typing import Any

import python_multipart

from leakline.fakes.openai import catalog, chat, responses, speech, transcription
from leakline.fakes.openai.answer import answer
from leakline.fakes.openai.errors import ClientError
from leakline.fakes.openai.script import ModelScript

POSTS = (
    "chat/completions",
    "responses",
    "audio/transcriptions",
    "audio/speech",
    "embeddings",
    "realtime/client_secrets",
)
"""Paths of the POST endpoints, below the base URL."""

_SSE = "text/event-stream; charset=utf-8"


@dataclass(frozen=True)
class Reply:
    """An answer with status 200: the chunks of a stream, or one chunk that is the whole body."""

    chunks: tuple[bytes, ...]
    content_type: str = "application/json"
    streamed: bool = False

    @property
    def body(self) -> bytes:
        """All chunks together."""
        return b"".join(self.chunks)


def endpoint_of(method: str, path: str) -> str:
    """The name in the ledger of the endpoint at `path` (below the base URL, without a leading slash)."""
    if method == "POST" and path in POSTS:
        return path.replace("/", ".")
    if method == "GET" and (path == "models" or path.startswith("models/")):
        return "models"
    return "unknown"


class Api:
    """Answers requests by `script`: each answer takes its next reply."""

    def __init__(self, script: ModelScript) -> None:
        self._numbers = count(1)
        self._replies = cycle(script.chat)
        self._hears = cycle(script.hears or ("",))
        self._answers: dict[str, Callable[[bytes, str], Reply]] = {
            "chat.completions": self._chat,
            "responses": self._responses,
            "audio.transcriptions": self._transcription,
            "audio.speech": self._speech,
            "embeddings": self._embeddings,
            "realtime.client_secrets": self._client_secret,
        }

    def number(self) -> int:
        """A new number, for an id."""
        return next(self._numbers)

    def reply(self, method: str, path: str, body: bytes, content_type: str) -> Reply:
        """The answer to a request, `path` as in `endpoint_of`. Raises ClientError."""
        name = endpoint_of(method, path)
        if name == "models":
            wanted = path.removeprefix("models").strip("/")
            return _json(catalog.model(wanted) if wanted else catalog.models())
        handler = self._answers.get(name)
        if handler is None:
            raise ClientError(f"Invalid URL ({method} /v1/{path})", status=404)
        return handler(body, content_type)

    def _chat(self, body: bytes, _content_type: str) -> Reply:
        asked = chat.chat_request(_parsed(body))
        said = answer(next(self._replies), asked.constraints)
        number, created = self.number(), int(time())
        if asked.stream:
            return _sse(chat.chunks(asked, said, number=number, created=created), done=True)
        return _json(chat.completion(asked, said, number=number, created=created))

    def _responses(self, body: bytes, _content_type: str) -> Reply:
        asked = responses.responses_request(_parsed(body))
        said = answer(next(self._replies), asked.constraints)
        number, created = self.number(), int(time())
        if asked.stream:
            return _sse(responses.stream(asked, said, number=number, created=created), named=True)
        return _json(responses.response(asked, said, number=number, created=created))

    def _transcription(self, body: bytes, content_type: str) -> Reply:
        asked = transcription.transcription_request(*_form(body, content_type))
        text = next(self._hears)
        if text is None:
            raise ClientError("Audio file might be corrupted or unsupported", code="invalid_value", param="file")
        if asked.stream:
            return _sse(transcription.stream(asked, text))
        said = transcription.whole(asked, text)
        return Reply((said.encode(),), "text/plain; charset=utf-8") if isinstance(said, str) else _json(said)

    def _speech(self, body: bytes, _content_type: str) -> Reply:
        asked = speech.speech_request(_parsed(body))
        audio = speech.spoken(asked.seconds, asked.format)
        if asked.sse:
            return _sse(speech.sse_events(asked, audio))
        return Reply(tuple(speech.pieces(audio)), speech.CONTENT_TYPES[asked.format], streamed=True)

    def _embeddings(self, body: bytes, _content_type: str) -> Reply:
        return _json(catalog.embeddings(_parsed(body)))

    def _client_secret(self, body: bytes, _content_type: str) -> Reply:
        return _json(catalog.client_secret(_parsed(body), number=self.number(), now=int(time())))


def _json(value: object) -> Reply:
    return Reply((json.dumps(value).encode(),))


def _sse(events: Iterable[object], *, done: bool = False, named: bool = False) -> Reply:
    """Server-sent events; `done` ends them with `[DONE]`, `named` gives each its event line."""
    texts = [_event(event, named=named) for event in events]
    return Reply((*texts, b"data: [DONE]\n\n") if done else tuple(texts), _SSE, streamed=True)


def _event(event: object, *, named: bool) -> bytes:
    name = f"event: {event['type']}\n" if named and isinstance(event, dict) else ""
    return f"{name}data: {json.dumps(event)}\n\n".encode()


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise ClientError("We could not parse the JSON body of your request.", code="invalid_json") from None


def _form(body: bytes, content_type: str) -> tuple[dict[str, list[str]], tuple[str, bytes] | None]:
    """The text fields and the file of a multipart form. Raises ClientError."""
    fields: dict[str, list[str]] = {}
    files: dict[str, tuple[str, bytes]] = {}

    def on_field(found: Any) -> None:
        name, value = (found.field_name or b"").decode("utf-8", "replace"), found.value or b""
        fields.setdefault(name, []).append(value.decode("utf-8", "replace"))

    def on_file(found: Any) -> None:
        found.file_object.seek(0)
        name = (found.field_name or b"").decode("utf-8", "replace")
        files[name] = ((found.file_name or b"").decode("utf-8", "replace"), found.file_object.read())
        found.close()

    headers: dict[str, str | bytes] = {
        "Content-Type": content_type.encode(),
        "Content-Length": str(len(body)).encode(),
    }
    try:
        python_multipart.parse_form(headers, io.BytesIO(body), on_field, on_file)  # type: ignore[arg-type]
    except (ValueError, python_multipart.exceptions.FormParserError):
        raise ClientError("Could not parse multipart form") from None
    return fields, files.get("file")
