"""The fake OpenAI on a socket: HTTP and WebSocket on one port (aiohttp), an I/O shell around the state machines."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from time import time

from aiohttp import web

from leakline.fakes.faults import Answered, FaultPlan, Gone
from leakline.fakes.ledger import EndReason, Ledger
from leakline.fakes.openai.api import POSTS, Api, endpoint_of
from leakline.fakes.openai.beta import BetaSession
from leakline.fakes.openai.errors import ClientError
from leakline.fakes.openai.exchange import (
    Exchange,
    check_key,
    endpoint,
    error_response,
    fault_response,
    service_headers,
)
from leakline.fakes.openai.realtime import RealtimeSession
from leakline.fakes.openai.realtime_shell import RealtimeShell
from leakline.fakes.openai.script import ModelScript
from leakline.fakes.openai.session import MAX_APPEND_BYTES
from leakline.fakes.openai.ticks import Ticks
from leakline.fakes.serving import HttpServer, peer_of

SESSION_S = 60 * 60
"""Maximum duration of a Realtime session, in real seconds (OpenAI docs, "Realtime conversations": 60 minutes)."""

_CLOSE_S = 2.0
"""Real seconds that a client has to answer a close frame."""
_MAX_MESSAGE_BYTES = MAX_APPEND_BYTES * 4 // 3 + 64 * 1024
_MAX_BODY_BYTES = 64 * 1024 * 1024

Route = Callable[[web.Request], Awaitable[web.StreamResponse]]


class OpenAIServer:
    """A fake OpenAI that answers by `script`. Use as an async context manager.

    Raises OSError on entering when the port is in use.

    Args:
        ledger: where every session and request is noted; served as JSON at `/_leakline/ledger`.
        host: the IP address to listen on.
        port: the TCP port; 0 takes a free one.
        speed: call seconds per real second; 10 plays a script in a tenth of its time.
        faults: how it fails.
        tls: the context to serve https and wss with; None for http and ws.
        session_s: maximum duration of a Realtime session in real seconds, as announced in `expires_at`.
        key: the only API key that is accepted; empty for any.
    """

    def __init__(
        self,
        script: ModelScript,
        ledger: Ledger,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        speed: float = 1.0,
        faults: FaultPlan | None = None,
        tls: ssl.SSLContext | None = None,
        session_s: float = SESSION_S,
        key: str = "",
    ) -> None:
        self._key = key
        self._session_s = session_s
        self._script = script
        self._ledger = ledger
        self._speed = speed
        self._faults = faults or FaultPlan()
        self._ticks = Ticks()
        self._api = Api(script)
        self._server = HttpServer(
            [
                web.get("/v1/realtime", self._realtime),
                *(web.post(f"/v1/{path}", self._route(endpoint_of("POST", path))) for path in POSTS),
                web.get("/v1/models", self._route("models")),
                web.get("/v1/models/{name}", self._route("models")),
                web.get("/_leakline/ledger", self._read_ledger),
                web.route("*", "/{path:.*}", self._route("unknown")),
            ],
            host=host,
            port=port,
            client_max_size=_MAX_BODY_BYTES,
            headers=service_headers,
            tls=tls,
        )

    @property
    def address(self) -> str:
        """`host:port` as bound."""
        return self._server.address

    @property
    def base_url(self) -> str:
        """The value for a client's OPENAI_BASE_URL; known once started."""
        return f"http{self._server.secure}://{self._server.address}/v1"

    @property
    def realtime_url(self) -> str:
        """The WebSocket URL of the Realtime API; known once started."""
        return f"ws{self._server.secure}://{self._server.address}/v1/realtime"

    async def __aenter__(self) -> OpenAIServer:
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop()

    def _route(self, name: str) -> Route:
        return endpoint(
            name, self._answer, ledger=self._ledger, faults=self._faults, refuse=self._refuse, key=self._key
        )

    async def _refuse(self, seconds: float) -> None:
        await self._server.refuse(seconds)

    async def _realtime(self, request: web.Request) -> web.StreamResponse:
        model = request.query.get("model", "gpt-realtime")
        entry = self._ledger.opened("openai", "realtime", peer_of(request), model)
        ending, reason = "dropped before the handshake was done", EndReason.DROPPED
        try:
            try:
                await Exchange(request, "realtime", self._faults, self._refuse).strike("request")
                socket = _upgrade(request, self._key)
            except Answered as answered:
                ending, reason = f"refused {answered.status}", EndReason.FAILED
                return fault_response(answered)
            except ClientError as error:
                ending, reason = f"refused {error.status}", EndReason.FAILED
                return error_response(error)
            except Gone:
                ending, reason = "ended by a fault", EndReason.FAULT
                return web.Response()
            try:
                await socket.prepare(request)
            except ConnectionResetError:
                return web.Response()  # the client did not wait for the handshake
            self._ledger.answered(entry)
            session = RealtimeSession(
                self._script, model=model, number=self._api.number(), expires_at=int(time() + self._session_s)
            )
            machine = BetaSession(session) if _is_beta(request) else session
            shell = RealtimeShell(
                request.transport,
                socket,
                machine,
                speed=self._speed,
                faults=self._faults,
                ticks=self._ticks,
                refuse=self._refuse,
                moved=lambda received, sent: self._ledger.moved(entry, received=received, sent=sent),
                heard=lambda number: self._ledger.belongs(entry, f"CA{number:032x}"),
                expires_s=self._session_s,
            )
            ending, reason = await shell.run()
        finally:
            self._ledger.closed(entry, ending, reason)
        return socket

    async def _answer(self, exchange: Exchange) -> web.StreamResponse:
        request = exchange.request
        body = await request.read()
        path = request.path.removeprefix("/v1/").lstrip("/")
        reply = self._api.reply(request.method, path, body, request.headers.get("Content-Type", ""))
        await asyncio.sleep(self._script.first_byte_s / self._speed)
        if reply.streamed:
            return await exchange.stream(reply.chunks, reply.content_type)
        return await exchange.whole(reply.body, reply.content_type)

    async def _read_ledger(self, request: web.Request) -> web.StreamResponse:
        if self._key:
            try:
                check_key(request, self._key)
            except ClientError as error:
                return error_response(error)
        return web.json_response(self._ledger.to_json())


def _is_beta(request: web.Request) -> bool:
    offered = request.headers.get("Sec-WebSocket-Protocol", "")
    return "realtime=v1" in request.headers.get("OpenAI-Beta", "") or "openai-beta.realtime-v1" in offered


def _upgrade(request: web.Request, key: str) -> web.WebSocketResponse:
    """The WebSocket that a request asks for, before the handshake. Raises ClientError."""
    check_key(request, key)
    socket = web.WebSocketResponse(
        protocols=("realtime",), compress=False, max_msg_size=_MAX_MESSAGE_BYTES, timeout=_CLOSE_S
    )
    if not socket.can_prepare(request).ok:
        raise ClientError("Expected a WebSocket upgrade.", code="invalid_request")
    return socket
