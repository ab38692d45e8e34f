"""The bridge between a call's Twilio Media Stream and the model's Realtime session."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from openai import OpenAIError
from pyee.base import EventEmitter
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.exceptions import WebSocketException

from leakline.restaurant.container import Container
from leakline.restaurant.intervals import Interval
from leakline.restaurant.leaks import Leak
from leakline.restaurant.menu import Carts, MenuTools
from leakline.restaurant.realtime import RealtimeAdapter
from leakline.restaurant.recordings import AIService
from leakline.restaurant.settings import Settings
from leakline.restaurant.twilio_stream import TwilioStream

log = logging.getLogger(__name__)

Listener = Callable[..., None]

_SWEEP_S = 60.0
_TRY_AGAIN_LATER = 1013


@dataclass(frozen=True)
class Kitchen:
    """The objects that all calls share."""

    settings: Settings
    container: Container
    events: EventEmitter
    carts: Carts
    recordings: AIService


class CallSession:
    """One call, from Twilio's `start` to its `stop`."""

    def __init__(self, twilio: WebSocket, start: dict[str, Any], kitchen: Kitchen) -> None:
        self.call_sid: str = start["callSid"]
        self.began = time.monotonic()
        self._twilio = twilio
        self._kitchen = kitchen
        self._leaks = kitchen.settings.leaks
        self._stream = TwilioStream(twilio, start["streamSid"], self._leaks)
        self._transcript: list[str] = []
        self._listeners: list[tuple[str, Listener]] = []
        self._adapter = self._new_adapter(kitchen.events)
        self._connecting: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Start connecting to the model; the caller may hang up before it is done."""
        self._listen("audio", self._on_audio)
        self._listen("transcript", self._on_transcript)
        self._listen("order", self._on_order)
        self._listen("interrupted", self._on_interrupted)
        self._listen("error", self._on_error)
        self._connecting = asyncio.create_task(self._connect())

    async def hear(self, payload: str) -> None:
        """Take a frame of the caller's audio."""
        self._stream.metrics.frames_in += 1
        self._kitchen.recordings.record(self.call_sid, base64.b64decode(payload))
        await self._adapter.append(payload)

    async def end(self) -> None:
        """End the call from the server's side."""
        with suppress(RuntimeError, WebSocketDisconnect):
            await self._twilio.close()

    async def close(self) -> None:
        """Release everything that the call holds, and read the order out of the transcript."""
        if Leak.WEBSOCKET_LISTENERS not in self._leaks:
            # The good way: without it, the server's emitter retains every call's session for ever.
            for event, listener in self._listeners:
                self._kitchen.events.remove_listener(event, listener)
        if self._connecting is not None and Leak.HANDSHAKE_SOCKETS not in self._leaks:
            # The good way: without it, a handshake in progress opens a socket that nobody closes.
            self._connecting.cancel()
            with suppress(asyncio.CancelledError):
                await self._connecting
        if Leak.MODEL_SOCKETS not in self._leaks:
            await self._adapter.disconnect()  # the good way: the model cannot know that the caller hung up
        await self._stream.close()
        try:
            await self._confirm()
        except (TimeoutError, OpenAIError) as error:
            # The bad way logs nothing, and nobody ever learns of the error.
            if Leak.SILENT_ERRORS not in self._leaks:
                log.warning("call %s: no order could be read: %s", self.call_sid, error)
        finally:
            self._kitchen.recordings.drop_recording(self.call_sid)
            ordered = self._kitchen.carts.close(self.call_sid)
            log.info("call %s ordered %s; %s", self.call_sid, ordered, self._stream.metrics)

    async def _connect(self) -> None:
        try:
            if Leak.DUPLICATE_ADAPTERS in self._leaks:
                spare = self._new_adapter(EventEmitter())  # the bad way: a second one, which nobody disconnects
                await spare.connect()
            await self._adapter.connect()
        except (OSError, WebSocketException) as error:
            if Leak.SILENT_ERRORS not in self._leaks:
                log.warning("call %s: the model cannot be reached, a message is taken: %s", self.call_sid, error)
            self._kitchen.recordings.start_recording(self.call_sid)

    async def _confirm(self) -> None:
        """Read the order out of the transcript, unless nothing was said."""
        message = await self._kitchen.recordings.transcribe_recording(self.call_sid)
        if message:
            self._transcript.append(f"caller: {message}")
        if not self._transcript:
            return
        said = "\n".join(self._transcript)
        container = self._kitchen.container
        self._kitchen.carts.add(self.call_sid, *await container.orders.read(said))
        log.info("call %s: %s", self.call_sid, await container.chat.first_words(said))

    def _new_adapter(self, events: EventEmitter) -> RealtimeAdapter:
        settings = self._kitchen.settings
        tools = MenuTools(self._kitchen.carts)
        return RealtimeAdapter(settings.realtime_url, settings.api_key, events, self.call_sid, tools)

    def _listen(self, event: str, listener: Listener) -> None:
        name = f"{event}:{self.call_sid}"
        self._kitchen.events.on(name, listener)
        self._listeners.append((name, listener))

    def _on_audio(self, payload: str) -> None:
        self._stream.play(payload)

    def _on_transcript(self, role: str, text: str) -> None:
        self._transcript.append(f"{role}: {text}")
        if role == "agent":
            self._stream.mark(f"said-{len(self._transcript)}")

    def _on_order(self, tool: str, result: str) -> None:
        log.info("call %s: %s: %s", self.call_sid, tool, result)

    def _on_interrupted(self) -> None:
        self._stream.clear()

    def _on_error(self, message: str) -> None:
        if Leak.SILENT_ERRORS not in self._leaks:
            log.warning("call %s: %s", self.call_sid, message)


class Bridge:
    """Serves Media Streams: the WebSocket endpoint."""

    def __init__(self, kitchen: Kitchen) -> None:
        self._kitchen = kitchen
        self._settings = kitchen.settings
        self._sweep: Interval | None = None
        self._waiting: list[WebSocket] = []
        self._ending: set[asyncio.Future[None]] = set()
        self.active: dict[str, CallSession] = {}
        """The calls in progress, by call SID."""

    async def serve(self, twilio: WebSocket) -> None:
        """Handle one Media Stream from handshake to close."""
        await twilio.accept()
        session: CallSession | None = None
        try:
            while True:
                message = json.loads(await twilio.receive_text())
                match message["event"]:
                    case "start" if session is None:
                        if len(self.active) >= self._settings.max_calls:
                            await self._refuse(twilio)
                            return
                        session = CallSession(twilio, message["start"], self._kitchen)
                        self._join(session)
                        session.open()
                    case "media" if session is not None:
                        await session.hear(message["media"]["payload"])
                    case "stop":
                        break
        except WebSocketDisconnect:
            pass  # hung up, or the connection was lost
        except (ValueError, KeyError, TypeError) as error:
            log.warning("not a Media Streams message: %r", error)
        finally:
            if session is not None:
                try:
                    await session.close()
                finally:
                    self._leave(session)
        with suppress(RuntimeError, WebSocketDisconnect):
            await twilio.close()

    async def _refuse(self, twilio: WebSocket) -> None:
        if Leak.REFUSED_CALLS in self._settings.leaks:
            # The bad way: it is put into a queue that nobody serves.
            self._waiting.append(twilio)
            await asyncio.Event().wait()
        log.warning("a call is refused: %d are under way", len(self.active))
        await twilio.close(_TRY_AGAIN_LATER, "too many calls")

    def _join(self, session: CallSession) -> None:
        if not self.active:
            self._sweep = Interval(_SWEEP_S, self._end_stale)
        self.active[session.call_sid] = session

    def _leave(self, session: CallSession) -> None:
        self.active.pop(session.call_sid, None)
        if not self.active and self._sweep is not None:
            if Leak.ORPHANED_INTERVALS not in self._settings.leaks:
                self._sweep.stop()  # the good way; without it, each busy period leaves a timer for ever
            self._sweep = None

    def _end_stale(self) -> None:
        oldest = time.monotonic() - self._settings.stale_call_s
        for session in [s for s in self.active.values() if s.began < oldest]:
            log.warning("call %s has gone on for too long", session.call_sid)
            ending = asyncio.ensure_future(session.end())
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
