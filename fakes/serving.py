"""A port with HTTP routes on it: the one place where a fake touches aiohttp's server set-up."""

from __future__ import annotations

import asyncio
import gc
import ssl
from collections.abc import Callable, Iterable, Mapping
from weakref import WeakSet

from aiohttp import WSCloseCode, web

_STOP_S = 2.0


class HttpServer:
    """Routes on one TCP port; port 0 takes a free one.

    Args:
        headers: what to add to every answer, asked anew for each.
        tls: serves https and wss with this context.
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
        """The `s` of https and wss, or nothing."""
        return "s" if self._tls is not None else ""

    async def start(self) -> None:
        """Bind and serve. Raises OSError when the port is taken."""
        await self._runner.setup()
        try:
            await self._listen()
        except OSError:
            await self._runner.cleanup()
            raise
        self._port = self._runner.addresses[0][1]

    async def refuse(self, seconds: float) -> None:
        """Take no new connection for a while; those that are open stay."""
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


def seldom_collect() -> None:
    """Have this process look for garbage less often, and not among what it has started with.

    For a process that does nothing but serve many sessions: one full collection holds up all of them.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def peer_of(request: web.Request) -> str:
    """The other end's `host:port`."""
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) and len(peer) >= 2 else "unknown"
