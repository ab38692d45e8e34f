"""The fake OpenAI on a socket: HTTP and WebSocket on one port (aiohttp), a thin shell around the machines."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from itertools import count, cycle
from time import time
from typing import Any

from aiohttp import WSMsgType, web

from fakes.ledger import Ledger
from fakes.openai.chat import chat_request, chunks, completion
from fakes.openai.conversation import Event
from fakes.openai.realtime import RealtimeSession
from fakes.openai.script import ModelScript
from fakes.openai.session import MAX_APPEND_BYTES, ClientError
from fakes.serving import HttpServer, peer_of

SESSION_S = 60 * 60
"""How long the service lets a session live, in seconds (announced as `expires_at`)."""

_CLOSE_S = 2.0
_MAX_MESSAGE_BYTES = MAX_APPEND_BYTES * 4 // 3 + 64 * 1024


class OpenAIServer:
    """A fake OpenAI that says what `script` says. Use as an async context manager.

    Args:
        ledger: where every session and request is noted.
        speed: call seconds per second; 10 plays a script in a tenth of its time.
    """

    def __init__(
        self,
        script: ModelScript,
        ledger: Ledger,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        speed: float = 1.0,
    ) -> None:
        self._script = script
        self._ledger = ledger
        self._speed = speed
        self._numbers = count(1)
        self._chat_replies = cycle(script.chat)
        self._server = HttpServer(
            [
                web.get("/v1/realtime", self._realtime),
                web.post("/v1/chat/completions", self._chat),
                web.route("*", "/{path:.*}", self._unknown),
            ],
            host=host,
            port=port,
            client_max_size=64 * 1024 * 1024,
        )

    @property
    def base_url(self) -> str:
        """What a client takes as OPENAI_BASE_URL; known once started."""
        return f"http://{self._server.address}/v1"

    @property
    def realtime_url(self) -> str:
        """The WebSocket URL of the Realtime API; known once started."""
        return f"ws://{self._server.address}/v1/realtime"

    async def __aenter__(self) -> OpenAIServer:
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop()

    async def _realtime(self, request: web.Request) -> web.StreamResponse:
        offered = request.headers.get("Sec-WebSocket-Protocol", "")
        if not _has_key(request) and "openai-insecure-api-key." not in offered:
            return _missing_key()
        model = request.query.get("model", "gpt-realtime")
        socket = web.WebSocketResponse(
            compress=False, protocols=("realtime",), max_msg_size=_MAX_MESSAGE_BYTES, timeout=_CLOSE_S
        )
        if not socket.can_prepare(request).ok:
            return _error(400, "Expected a WebSocket upgrade.", code="invalid_request")
        entry = self._ledger.opened("openai", "realtime", peer_of(request), detail=model)
        ending = "dropped before the handshake was done"
        try:
            await socket.prepare(request)
            session = RealtimeSession(
                self._script, model=model, number=next(self._numbers), expires_at=int(time()) + SESSION_S
            )
            ending = await _RealtimeShell(socket, session, self._speed).run()
        finally:
            self._ledger.closed(entry, ending)
        return socket

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        entry = self._ledger.opened("openai", "chat.completions", peer_of(request))
        ending = "dropped"
        try:
            response = await self._chat_answer(request)
            ending = str(response.status)
        finally:
            self._ledger.closed(entry, ending)
        return response

    async def _chat_answer(self, request: web.Request) -> web.StreamResponse:
        if not _has_key(request):
            return _missing_key()
        try:
            asked = chat_request(await _json_body(request))
        except ClientError as error:
            return _error(400, str(error), code=error.code, param=error.param)
        number, reply, created = next(self._numbers), next(self._chat_replies), int(time())
        await asyncio.sleep(self._script.first_byte_s / self._speed)
        if not asked.stream:
            return web.json_response(completion(asked, reply, number=number, created=created))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        for chunk in chunks(asked, reply, number=number, created=created):
            await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _unknown(self, request: web.Request) -> web.StreamResponse:
        entry = self._ledger.opened("openai", "unknown", peer_of(request), detail=request.path)
        self._ledger.closed(entry, "404")
        return _error(404, f"Invalid URL ({request.method} {request.path})", code=None)


class _RealtimeShell:
    """Moves events between one socket and one session machine, and keeps time for it."""

    def __init__(self, socket: web.WebSocketResponse, session: RealtimeSession, speed: float) -> None:
        self._socket = socket
        self._session = session
        self._speed = speed
        self._clock = asyncio.get_running_loop().time
        self._changed = asyncio.Event()
        self._in_order = asyncio.Lock()

    async def run(self) -> str:
        """Serve until the socket ends; returns how it ended."""
        speaker = asyncio.create_task(self._speak())
        try:
            await self._send(self._session.start())
            async for message in self._socket:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    before = self._session.wake_at
                    answer = self._session.receive(message.data, self._now())
                    if self._session.wake_at != before:
                        self._changed.set()
                    if answer:
                        await self._send(answer)
        finally:
            speaker.cancel()
        code = self._socket.close_code
        return "dropped" if code in (None, 1006) else f"closed {code}"

    async def _speak(self) -> None:
        while True:
            self._changed.clear()
            wake_at = self._session.wake_at
            wait_s = None if wake_at is None else (wake_at - self._now()) / self._speed
            if wait_s is None or wait_s > 0:
                try:
                    await asyncio.wait_for(self._changed.wait(), wait_s)
                except TimeoutError:
                    pass
                else:
                    continue
            await self._send(self._session.advance(self._now()))

    async def _send(self, events: Iterable[Event]) -> None:
        # Two tasks send; the lock is fair, so what was decided first goes out first.
        async with self._in_order:
            for event in events:
                try:
                    await self._socket.send_str(json.dumps(event))
                except ConnectionError:
                    return  # the client has gone: the receiving side notes how

    def _now(self) -> float:
        return self._clock() * self._speed


def _has_key(request: web.Request) -> bool:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    return scheme.lower() == "bearer" and bool(key.strip())


async def _json_body(request: web.Request) -> Any:
    try:
        return json.loads(await request.read())
    except (ValueError, RecursionError):
        raise ClientError("We could not parse the JSON body of your request.", code="invalid_json") from None


def _missing_key() -> web.Response:
    return _error(
        401,
        "You didn't provide an API key. You need to provide your API key in an Authorization header "
        "using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
        code=None,
    )


def _error(status: int, message: str, *, code: str | None, param: str | None = None) -> web.Response:
    body = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return web.json_response({"error": body}, status=status)
