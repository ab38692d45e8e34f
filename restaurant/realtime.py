"""The adapter to the OpenAI Realtime API: a WebSocket per call, its events emitted on the server's emitter."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import suppress
from typing import Any

from pyee.base import EventEmitter
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from leakline.restaurant.menu import MENU, TOOLS, MenuTools

log = logging.getLogger(__name__)

_SESSION: dict[str, Any] = {
    "type": "realtime",
    "instructions": "You take orders at the Grill. On the menu: " + ", ".join(MENU) + ".",
    "output_modalities": ["audio"],
    "audio": {
        "input": {
            "format": {"type": "audio/pcmu"},
            "transcription": {"model": "gpt-4o-mini-transcribe"},
            "turn_detection": {"type": "server_vad"},
        },
        "output": {"format": {"type": "audio/pcmu"}, "voice": "marin"},
    },
    "tools": TOOLS,
}

_HEARTBEAT_S = 20.0
_MOST_RECONNECTS = 2
_FIRST_WAIT_S = 0.2


class RealtimeAdapter:
    """One call's session with the model.

    It emits, with a colon and the call's SID appended to each name: `audio` (base64 mu-law),
    `transcript` (role, text), `order` (tool, result), `interrupted`, `error` (message).
    """

    def __init__(self, url: str, api_key: str, events: EventEmitter, call_sid: str, tools: MenuTools) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {api_key}"}
        self._events = events
        self._call_sid = call_sid
        self._tools = tools
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._wanted = True

    async def connect(self) -> None:
        """Open the session and have the model greet the caller. Raises OSError, WebSocketException."""
        self._socket = await self._open()
        self._reader = asyncio.create_task(self._read())
        await self._send({"type": "response.create"})

    async def append(self, payload: str) -> None:
        """Pass on the caller's audio, base64 mu-law; before the session is open it is dropped."""
        await self._send({"type": "input_audio_buffer.append", "audio": payload})

    async def disconnect(self) -> None:
        """Close the session; does nothing when there is none."""
        self._wanted = False
        if self._socket is not None:
            await self._socket.close()
        if self._reader is not None:
            await self._reader

    async def _open(self) -> ClientConnection:
        # The heartbeat is WebSocket's own ping: the connection to a peer that does not answer in time is closed.
        socket = await connect(
            self._url, additional_headers=self._headers, ping_interval=_HEARTBEAT_S, ping_timeout=_HEARTBEAT_S
        )
        try:
            await socket.send(json.dumps({"type": "session.update", "session": _SESSION}))
        except BaseException:  # on cancellation too: nobody else could close it
            await socket.close()
            raise
        return socket

    async def _send(self, event: dict[str, Any]) -> None:
        if self._socket is not None:
            with suppress(ConnectionClosed):  # the reader notices it too, and emits an error
                await self._socket.send(json.dumps(event))

    async def _read(self) -> None:
        """Handle the model's events; reconnect when the connection breaks, at most twice."""
        for attempt in range(1 + _MOST_RECONNECTS):
            if attempt and not await self._reconnected(attempt):
                continue
            if self._socket is None:
                return
            try:
                async for message in self._socket:
                    await self._on_event(json.loads(message))
            except ConnectionClosed as closed:
                self._emit("error", f"the model's connection broke: {closed}")
            if self._is_over() or self._socket.close_code == 1000:
                return

    async def _reconnected(self, attempt: int) -> bool:
        await asyncio.sleep(_FIRST_WAIT_S * 2 ** (attempt - 1))
        if self._is_over():
            return False
        try:
            self._socket = await self._open()
        except (OSError, WebSocketException) as error:
            self._emit("error", f"the model cannot be reached again: {error}")
            return False
        if self._is_over():  # the call ended while this was connecting
            await self._socket.close()
        return True

    def _is_over(self) -> bool:
        return not self._wanted

    async def _on_event(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "response.output_audio.delta":
                self._emit("audio", event["delta"])
            case "response.output_audio_transcript.done":
                self._emit("transcript", "agent", event["transcript"])
            case "conversation.item.input_audio_transcription.completed":
                self._emit("transcript", "caller", event["transcript"])
            case "input_audio_buffer.speech_started":
                self._emit("interrupted")
            case "response.done":
                await self._on_response_done(event["response"])
            case "error":
                self._emit("error", event["error"]["message"])

    async def _on_response_done(self, response: dict[str, Any]) -> None:
        calls = [item for item in response["output"] if item["type"] == "function_call"]
        for call in calls:
            result = self._tools.call(self._call_sid, call["name"], call["arguments"])
            self._emit("order", call["name"], result)
            output = {"type": "function_call_output", "call_id": call["call_id"], "output": result}
            await self._send({"type": "conversation.item.create", "item": output})
        if calls and all(item["type"] != "message" for item in response["output"]):
            await self._send({"type": "response.create"})  # the model has said nothing yet

    def _emit(self, event: str, *details: object) -> None:
        self._events.emit(f"{event}:{self._call_sid}", *details)
