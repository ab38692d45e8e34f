"""The sending side of a call's Media Stream: messages to Twilio in order, and counts of them."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from leakline.restaurant.leaks import Leak
from leakline.restaurant.native import NativeBuffer

log = logging.getLogger(__name__)

_WORKING_BYTES = 64 * 1024
_REPORT_S = 30.0


@dataclass
class Metrics:
    """Counts of one call's messages."""

    frames_in: int = 0
    frames_out: int = 0
    marks: int = 0
    interruptions: int = 0


class TwilioStream:
    """One call's Media Stream, for writing."""

    def __init__(self, socket: WebSocket, stream_sid: str, leaks: Collection[Leak] = ()) -> None:
        self.metrics = Metrics()
        self._socket = socket
        self._stream_sid = stream_sid
        self._leaks = leaks
        self._queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._echo = NativeBuffer(_WORKING_BYTES)  # an echo canceller's working memory
        self._sender = asyncio.create_task(self._send())
        self._reporter = asyncio.create_task(self._report())

    def play(self, payload: str) -> None:
        """Send base64 mu-law audio."""
        self.metrics.frames_out += 1
        self._put("media", media={"payload": payload})

    def mark(self, name: str) -> None:
        """Ask Twilio to return a mark when all audio so far has played."""
        self.metrics.marks += 1
        self._put("mark", mark={"name": name})

    def clear(self) -> None:
        """Have Twilio discard all audio that has not played, since the caller speaks."""
        self.metrics.interruptions += 1
        self._put("clear")

    async def close(self) -> None:
        """Release everything that the stream holds."""
        if Leak.NATIVE_BUFFERS not in self._leaks:
            self._echo.free()  # the good way; no garbage collector does it
        tasks = [self._sender]
        if Leak.CALL_TASKS not in self._leaks:
            tasks.append(self._reporter)  # the good way; without it, the task goes on for ever
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _put(self, event: str, **fields: Any) -> None:
        self._queue.put_nowait({"event": event, "streamSid": self._stream_sid, **fields})

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(_REPORT_S)
            log.info("stream %s: %s", self._stream_sid, self.metrics)

    async def _send(self) -> None:
        while True:
            message = await self._queue.get()
            with suppress(WebSocketDisconnect, RuntimeError):  # closed: the receiving side ends the call
                await self._socket.send_text(json.dumps(message))
