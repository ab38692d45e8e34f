"""Voice for browsers: a WebSocket on which a guest's recording is answered in text and speech.

The browser sends `{"type": "start"}`, then mu-law audio in binary messages, then `{"type": "stop"}`; it gets
`{"type": "transcript"}`, `{"type": "reply"}` and one binary message, a WAV file. `{"type": "ping"}` is answered with
`{"type": "pong"}`. A session that is silent for too long is closed.
"""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import suppress
from itertools import count

from openai import OpenAIError
from starlette.websockets import WebSocket, WebSocketDisconnect

from leakline.restaurant.recordings import AIService

log = logging.getLogger(__name__)

_GOING_AWAY = 1001


class VoiceServer:
    """Serves browsers: the WebSocket endpoint."""

    def __init__(self, recordings: AIService, *, idle_s: float) -> None:
        self._recordings = recordings
        self._idle_s = idle_s
        self._numbers = count(1)
        self.sessions: set[str] = set()
        """Ids of the sessions in progress."""

    async def serve(self, browser: WebSocket) -> None:
        """Handle one session from handshake to close."""
        await browser.accept()
        guest = f"guest-{next(self._numbers)}"
        self.sessions.add(guest)
        try:
            while True:
                async with asyncio.timeout(self._idle_s):
                    message = await browser.receive()
                if message["type"] == "websocket.disconnect":
                    return
                await self._take(browser, guest, message.get("text"), message.get("bytes"))
        except TimeoutError:
            with suppress(RuntimeError, WebSocketDisconnect):
                await browser.close(_GOING_AWAY, "inactive")
        except (WebSocketDisconnect, RuntimeError):
            pass  # the browser closed while it was being answered
        finally:
            self.sessions.discard(guest)
            self._recordings.drop_recording(guest)

    async def _take(self, browser: WebSocket, guest: str, text: str | None, audio: bytes | None) -> None:
        if audio is not None:
            self._recordings.record(guest, audio)
            return
        match _kind(text):
            case "start":
                self._recordings.start_recording(guest)
            case "stop":
                await self._answer(browser, guest)
            case "ping":
                await browser.send_json({"type": "pong"})
            case other:
                await browser.send_json(
                    {"type": "error", "message": f"expected start, stop or ping, found {other!r}"}
                )

    async def _answer(self, browser: WebSocket, guest: str) -> None:
        try:
            answer = await self._recordings.stop_recording(guest)
        except OpenAIError as error:
            log.warning("%s: no answer: %s", guest, error)
            await browser.send_json({"type": "error", "message": "the model cannot be reached"})
            return
        await browser.send_json({"type": "transcript", "text": answer.transcript})
        await browser.send_json({"type": "reply", "text": answer.text})
        await browser.send_bytes(answer.audio)


def _kind(text: str | None) -> str | None:
    try:
        message = json.loads(text or "")
    except ValueError:
        return text
    return message.get("type") if isinstance(message, dict) else text
