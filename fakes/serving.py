"""A TCP port with HTTP routes: the one place that sets up an aiohttp server."""

from __future__ import annotations

import asyncio
import gc
import ssl
from collections.abc import Callable, Iterable, Mapping
from weakref import WeakSet

from aiohttp import WSCloseCode, web

_STOP_S = 2.0
"""Seconds that open requests have to finish when the server stops."""


class HttpServer:
    """Routes on one TCP port; port 0 takes a free one.

    Args:
        client_max_size: largest request body that is accepted, in bytes.
        headers: returns the headers to add to an answer; called for each.
        tls: the context to serve https and wss with; None for http and ws.
    """

    def __init__(
        self,
        routes: Iterable[web.RouteDef],
        *,
        host: str,
        port: int,
        client_max_size: int,
        headers: Callable[[], Mapping[str, str]] = dict,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._app = web.Application(client_max_size=client_max_size)
        self._app.add_routes(routes)
        self._app.on_response_prepare.append(self._on_prepare)
        self._app.on_shutdown.append(self._close_sockets)
        self._sockets: WeakSet[web.WebSocketResponse] = WeakSet()
        self._runner = web.AppRunner(self._app, access_log=None, shutdown_timeout=_STOP_S)
        self._site: web.TCPSite | None = None
        self._reopening: asyncio.Task[None] | None = None
        self._host, self._port, self._headers, self._tls = host, port, headers, tls

    @property
    def address(self) -> str:
        """`host:port` as bound."""
        return f"{self._host}:{self._port}"

    @property
    def secure(self) -> str:
        """The `s` of https and wss, or an empty string."""
        return "s" if self._tls is not None else ""

    async def start(self) -> None:
        """Bind and serve. Raises OSError when the port is in use."""
        await self._runner.setup()
        try:
            await self._listen()
        except OSError:
            await self._runner.cleanup()
            raise
        self._port = self._runner.addresses[0][1]

    async def refuse(self, seconds: float) -> None:
        """Accept no new connection for some real seconds; open ones stay."""
        if self._site is not None and self._reopening is None:
            site, self._site = self._site, None
            await site.stop()
            self._reopening = asyncio.create_task(self._reopen_after(seconds))

    async def _reopen_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._reopening = None
        await self._listen()

    async def _listen(self) -> None:
        site = web.TCPSite(self._runner, self._host, self._port, ssl_context=self._tls, reuse_address=True)
        await site.start()
        self._site = site

    async def stop(self) -> None:
        """Close every WebSocket with 1001 (going away), then the port."""
        if self._reopening is not None:
            self._reopening.cancel()
        await self._runner.cleanup()

    async def _on_prepare(self, _request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(self._headers())
        if isinstance(response, web.WebSocketResponse):
            self._sockets.add(response)

    async def _close_sockets(self, _app: web.Application) -> None:
        going_away = (
            socket.close(code=WSCloseCode.GOING_AWAY, message=b"server shutdown") for socket in self._sockets
        )
        await asyncio.gather(*going_away, return_exceptions=True)


def reduce_garbage_collection() -> None:
    """Make garbage collections in this process rarer and shorter.

    For a process that only serves many sessions, which a full collection stops all at once: objects that exist now
    are excluded from collections (`gc.freeze`), and the thresholds are raised.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def peer_of(request: web.Request) -> str:
    """The other end's `host:port`."""
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) and len(peer) >= 2 else "unknown"
