"""The bridge: one call's Twilio Media Stream on one side, the model's session on the other."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from openai import APIError
from pyee.base import EventEmitter
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.exceptions import WebSocketException

from restaurant.leaks import Leak
from restaurant.orders import OrderItem, OrderReader
from restaurant.realtime import RealtimeAdapter
from restaurant.settings import Settings

log = logging.getLogger(__name__)

Listener = Callable[..., None]


class CallSession:
    """One call, from Twilio's `start` to its `stop`."""

    def __init__(
        self,
        twilio: WebSocket,
        start: dict[str, Any],
        settings: Settings,
        events: EventEmitter,
        orders: OrderReader,
    ) -> None:
        self.call_sid: str = start["callSid"]
        self.cart: list[OrderItem] = []
        self._stream_sid: str = start["streamSid"]
        self._twilio = twilio
        self._events = events
        self._orders = orders
        self._leak_listeners = Leak.WEBSOCKET_LISTENERS in settings.leaks
        self._transcript: list[str] = []
        self._to_twilio: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._sender: asyncio.Task[None] | None = None
        self._listeners: list[tuple[str, Listener]] = []
        self._adapter = RealtimeAdapter(settings.realtime_url, settings.api_key, events, self.call_sid)

    async def open(self) -> None:
        """Connect the model. Raises OSError, WebSocketException."""
        self._listen("audio", self._on_audio)
        self._listen("transcript", self._on_transcript)
        self._listen("order", self._on_order)
        self._listen("interrupted", self._on_interrupted)
        self._listen("error", self._on_error)
        self._sender = asyncio.create_task(self._send_to_twilio())
        await self._adapter.connect()

    async def hear(self, payload: str) -> None:
        """Take a frame of the caller's audio."""
        await self._adapter.append(payload)

    async def close(self) -> None:
        """Let go of all that the call held."""
        if not self._leak_listeners:
            # The good way: without it, the server's emitter keeps every call's session for ever.
            for event, listener in self._listeners:
                self._events.remove_listener(event, listener)
        await self._adapter.disconnect()
        if self._sender is not None:
            self._sender.cancel()
            with suppress(asyncio.CancelledError):
                await self._sender

    async def confirm(self) -> None:
        """Read the order out of what was said, when anything was."""
        if not self._transcript:
            return
        try:
            self.cart = list(await self._orders.read("\n".join(self._transcript)))
        except (TimeoutError, APIError) as error:
            log.warning("call %s: no order could be read: %s", self.call_sid, error)
            return
        log.info("call %s ordered %s", self.call_sid, self.cart)

    def _listen(self, event: str, listener: Listener) -> None:
        name = f"{event}:{self.call_sid}"
        self._events.on(name, listener)
        self._listeners.append((name, listener))

    def _on_audio(self, payload: str) -> None:
        self._queue("media", media={"payload": payload})

    def _on_transcript(self, role: str, text: str) -> None:
        self._transcript.append(f"{role}: {text}")
        if role == "agent":
            self._queue("mark", mark={"name": f"said-{len(self._transcript)}"})

    def _on_order(self, arguments: dict[str, Any]) -> None:
        self.cart.append(OrderItem(str(arguments.get("item")), int(arguments.get("quantity", 1))))

    def _on_interrupted(self) -> None:
        self._queue("clear")

    def _on_error(self, message: str) -> None:
        log.warning("call %s: %s", self.call_sid, message)

    def _queue(self, event: str, **fields: Any) -> None:
        self._to_twilio.put_nowait({"event": event, "streamSid": self._stream_sid, **fields})

    async def _send_to_twilio(self) -> None:
        while True:
            message = await self._to_twilio.get()
            try:
                await self._twilio.send_text(json.dumps(message))
            except (WebSocketDisconnect, RuntimeError):
                return  # the caller has gone; the receiving side ends the call


class Bridge:
    """Serves Media Streams: the WebSocket endpoint."""

    def __init__(self, settings: Settings, events: EventEmitter, orders: OrderReader) -> None:
        self._settings = settings
        self._events = events
        self._orders = orders
        self.active: dict[str, CallSession] = {}
        """The calls under way, by call SID."""

    async def serve(self, twilio: WebSocket) -> None:
        """Handle one Media Stream from handshake to close."""
        await twilio.accept()
        session: CallSession | None = None
        try:
            while True:
                message = json.loads(await twilio.receive_text())
                match message["event"]:
                    case "start":
                        session = CallSession(twilio, message["start"], self._settings, self._events, self._orders)
                        self.active[session.call_sid] = session
                        await session.open()
                    case "media" if session is not None:
                        await session.hear(message["media"]["payload"])
                    case "stop":
                        break
        except WebSocketDisconnect:
            pass  # hung up, or dropped
        except (OSError, WebSocketException) as error:
            log.warning("the model could not be reached: %s", error)
        except (ValueError, KeyError, TypeError) as error:
            log.warning("not a Media Streams message: %r", error)
        finally:
            if session is not None:
                self.active.pop(session.call_sid, None)
                await session.close()
                await session.confirm()
        with suppress(RuntimeError, WebSocketDisconnect):
            await twilio.close()
