"""The application: the objects that live as long as the server, and the routes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from xml.sax.saxutils import quoteattr

from pyee.base import EventEmitter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

from leakline.restaurant.bridge import Bridge, Kitchen
from leakline.restaurant.container import Container
from leakline.restaurant.leaks import Leak
from leakline.restaurant.menu import Carts
from leakline.restaurant.recordings import AIService
from leakline.restaurant.settings import Settings
from leakline.restaurant.voice import VoiceServer

_TWIML = '<?xml version="1.0" encoding="UTF-8"?><Response><Connect><Stream url={url} /></Connect></Response>'


def create_app(settings: Settings) -> Starlette:
    """The server as an ASGI application."""
    container = Container(settings)
    carts = Carts(settings.cart_s, settings.leaks)
    recordings = AIService(container, copy_all=Leak.WHOLE_RECORDINGS in settings.leaks)
    bridge = Bridge(Kitchen(settings, container, EventEmitter(), carts, recordings))
    voice = VoiceServer(recordings, idle_s=settings.idle_voice_s)

    async def health(_request: Request) -> Response:
        return JSONResponse(
            {
                "status": "ok",
                "active_calls": len(bridge.active),
                "voice_sessions": len(voice.sessions),
                "carts": len(carts),
            }
        )

    async def incoming_call(request: Request) -> Response:
        host = request.headers.get("host", "localhost")
        url = quoteattr(f"wss://{host}/media-stream")
        return Response(_TWIML.format(url=url), media_type="application/xml")

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        carts.start()
        yield
        carts.stop()
        await container.close()

    return Starlette(
        routes=[
            Route("/health", health),
            Route("/incoming-call", incoming_call, methods=["GET", "POST"]),
            WebSocketRoute("/media-stream", bridge.serve),
            WebSocketRoute("/voice", voice.serve),
        ],
        lifespan=lifespan,
    )
