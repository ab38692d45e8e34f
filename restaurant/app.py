"""The application: what lives as long as the server does, and the routes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from xml.sax.saxutils import quoteattr

from openai import AsyncOpenAI
from pyee.base import EventEmitter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

from restaurant.bridge import Bridge
from restaurant.leaks import Leak
from restaurant.orders import OrderReader
from restaurant.settings import Settings

_TWIML = '<?xml version="1.0" encoding="UTF-8"?><Response><Connect><Stream url={url} /></Connect></Response>'


def create_app(settings: Settings) -> Starlette:
    """The server as an ASGI application."""
    client = AsyncOpenAI(api_key=settings.api_key, base_url=settings.base_url)
    orders = OrderReader(
        client,
        model=settings.chat_model,
        timeout_s=settings.order_timeout_s,
        leak_timer=Leak.TIMEOUT_TIMERS in settings.leaks,
    )
    bridge = Bridge(settings, EventEmitter(), orders)

    async def health(_request: Request) -> Response:
        return JSONResponse({"status": "ok", "active_calls": len(bridge.active)})

    async def incoming_call(request: Request) -> Response:
        host = request.headers.get("host", "localhost")
        url = quoteattr(f"wss://{host}/media-stream")
        return Response(_TWIML.format(url=url), media_type="application/xml")

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        await client.close()

    return Starlette(
        routes=[
            Route("/health", health),
            Route("/incoming-call", incoming_call, methods=["GET", "POST"]),
            WebSocketRoute("/media-stream", bridge.serve),
        ],
        lifespan=lifespan,
    )
