"""The fake OpenAI on a socket: HTTP and WebSocket on one port (aiohttp), a thin shell around the machines."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from itertools import count, cycle
from time import time

from aiohttp import web

from fakes.faults import Answered, FaultPlan, Gone
from fakes.ledger import Ledger
from fakes.openai import catalog, chat, responses, speech, transcription
from fakes.openai.answer import answer
from fakes.openai.beta import BetaSession
from fakes.openai.errors import ClientError
from fakes.openai.exchange import (
    Exchange,
    Handler,
    endpoint,
    error_response,
    fault_response,
    has_key,
    missing_key,
    service_headers,
)
from fakes.openai.realtime import RealtimeSession
from fakes.openai.realtime_shell import RealtimeShell
from fakes.openai.script import ModelScript
from fakes.openai.session import MAX_APPEND_BYTES
from fakes.serving import HttpServer, peer_of

SESSION_S = 60 * 60
"""How long the service lets a session live, in seconds (announced as `expires_at`)."""

_CLOSE_S = 2.0
_MAX_MESSAGE_BYTES = MAX_APPEND_BYTES * 4 // 3 + 64 * 1024
_MAX_BODY_BYTES = 64 * 1024 * 1024

Route = Callable[[web.Request], Awaitable[web.StreamResponse]]


class OpenAIServer:
    """A fake OpenAI that says what `script` says. Use as an async context manager.

    Args:
        ledger: where every session and request is noted; served as JSON at `/_leakline/ledger`.
        speed: call seconds per second; 10 plays a script in a tenth of its time.
        faults: how it fails.
        tls: serves https and wss with this context.
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
    ) -> None:
        self._script = script
        self._ledger = ledger
        self._speed = speed
        self._faults = faults or FaultPlan()
        self._numbers = count(1)
        self._replies = cycle(script.chat)
        self._hears = cycle(script.hears or ("",))
        posts = {
            "chat/completions": self._chat,
            "responses": self._responses,
            "audio/transcriptions": self._transcriptions,
            "audio/speech": self._speech,
            "embeddings": self._embeddings,
            "realtime/client_secrets": self._client_secrets,
        }
        self._server = HttpServer(
            [
                web.get("/v1/realtime", self._realtime),
                *(web.post(f"/v1/{path}", self._route(path.replace("/", "."), posts[path])) for path in posts),
                web.get("/v1/models", self._route("models", self._models)),
                web.get("/v1/models/{name}", self._route("models", self._model)),
                web.get("/_leakline/ledger", self._read_ledger),
                web.route("*", "/{path:.*}", self._route("unknown", self._unknown)),
            ],
            host=host,
            port=port,
            client_max_size=_MAX_BODY_BYTES,
            headers=service_headers,
            tls=tls,
        )

    @property
    def base_url(self) -> str:
        """What a client takes as OPENAI_BASE_URL; known once started."""
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

    def _route(self, name: str, handler: Handler) -> Route:
        return endpoint(name, handler, ledger=self._ledger, faults=self._faults, refuse=self._refuse)

    async def _refuse(self, seconds: float) -> None:
        await self._server.refuse(seconds)

    async def _realtime(self, request: web.Request) -> web.StreamResponse:
        model = request.query.get("model", "gpt-realtime")
        entry = self._ledger.opened("openai", "realtime", peer_of(request), model)
        ending = "dropped before the handshake was done"
        try:
            try:
                await Exchange(request, "realtime", self._faults, self._refuse).strike("request")
                socket = _upgrade(request)
            except Answered as answered:
                ending = f"refused {answered.status}"
                return fault_response(answered)
            except ClientError as error:
                ending = f"refused {error.status}"
                return error_response(error)
            except Gone:
                ending = "ended by a fault"
                return web.Response()
            await socket.prepare(request)
            session = RealtimeSession(
                self._script, model=model, number=next(self._numbers), expires_at=int(time()) + SESSION_S
            )
            machine = BetaSession(session) if _is_beta(request) else session
            shell = RealtimeShell(
                request.transport,
                socket,
                machine,
                speed=self._speed,
                faults=self._faults,
                refuse=self._refuse,
                moved=lambda received, sent: self._ledger.moved(entry, received=received, sent=sent),
            )
            ending = await shell.run()
        finally:
            self._ledger.closed(entry, ending)
        return socket

    async def _chat(self, exchange: Exchange) -> web.StreamResponse:
        asked = chat.chat_request(await exchange.body())
        said = answer(next(self._replies), asked.wish)
        number, created = next(self._numbers), int(time())
        await self._think()
        if asked.stream:
            return await exchange.sse(chat.chunks(asked, said, number=number, created=created), done=True)
        return await exchange.json(chat.completion(asked, said, number=number, created=created))

    async def _responses(self, exchange: Exchange) -> web.StreamResponse:
        asked = responses.responses_request(await exchange.body())
        said = answer(next(self._replies), asked.wish)
        number, created = next(self._numbers), int(time())
        await self._think()
        if asked.stream:
            return await exchange.sse(responses.stream(asked, said, number=number, created=created), named=True)
        return await exchange.json(responses.response(asked, said, number=number, created=created))

    async def _transcriptions(self, exchange: Exchange) -> web.StreamResponse:
        fields: dict[str, list[str]] = {}
        file = None
        try:
            form = await exchange.request.post()
        except ValueError:
            raise ClientError("Could not parse multipart form") from None
        for name, value in form.items():
            if isinstance(value, web.FileField):
                file = (value.filename, value.file.read()) if name == "file" else file
            elif isinstance(value, str):
                fields.setdefault(name, []).append(value)
        asked = transcription.transcription_request(fields, file)
        text = next(self._hears)
        if text is None:
            raise ClientError("Audio file might be corrupted or unsupported", code="invalid_value", param="file")
        await self._think()
        if asked.stream:
            return await exchange.sse(transcription.stream(asked, text))
        said = transcription.whole(asked, text)
        if isinstance(said, str):
            return await exchange.whole(said.encode(), "text/plain; charset=utf-8")
        return await exchange.json(said)

    async def _speech(self, exchange: Exchange) -> web.StreamResponse:
        asked = speech.speech_request(await exchange.body())
        audio = speech.spoken(asked.seconds, asked.format)
        await self._think()
        if asked.sse:
            return await exchange.sse(speech.sse_events(asked, audio))
        return await exchange.stream(speech.pieces(audio), speech.CONTENT_TYPES[asked.format])

    async def _embeddings(self, exchange: Exchange) -> web.StreamResponse:
        return await exchange.json(catalog.embeddings(await exchange.body()))

    async def _client_secrets(self, exchange: Exchange) -> web.StreamResponse:
        secret = catalog.client_secret(await exchange.body(), number=next(self._numbers), now=int(time()))
        return await exchange.json(secret)

    async def _models(self, exchange: Exchange) -> web.StreamResponse:
        return await exchange.json(catalog.models())

    async def _model(self, exchange: Exchange) -> web.StreamResponse:
        return await exchange.json(catalog.model(exchange.request.match_info["name"]))

    async def _read_ledger(self, _request: web.Request) -> web.StreamResponse:
        return web.json_response(self._ledger.to_json())

    async def _unknown(self, exchange: Exchange) -> web.StreamResponse:
        request = exchange.request
        raise ClientError(f"Invalid URL ({request.method} {request.path})", status=404)

    async def _think(self) -> None:
        await asyncio.sleep(self._script.first_byte_s / self._speed)


def _is_beta(request: web.Request) -> bool:
    offered = request.headers.get("Sec-WebSocket-Protocol", "")
    return "realtime=v1" in request.headers.get("OpenAI-Beta", "") or "openai-beta.realtime-v1" in offered


def _upgrade(request: web.Request) -> web.WebSocketResponse:
    """The WebSocket that a request asks for, not yet accepted. Raises ClientError."""
    # A browser cannot set headers: it gives its key as a subprotocol.
    offered = request.headers.get("Sec-WebSocket-Protocol", "")
    if not has_key(request) and "openai-insecure-api-key." not in offered:
        raise missing_key()
    socket = web.WebSocketResponse(
        protocols=("realtime",), compress=False, max_msg_size=_MAX_MESSAGE_BYTES, timeout=_CLOSE_S
    )
    if not socket.can_prepare(request).ok:
        raise ClientError("Expected a WebSocket upgrade.", code="invalid_request")
    return socket
