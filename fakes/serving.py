"""A port with HTTP routes on it: the one place where a fake touches aiohttp's server set-up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from weakref import WeakSet

from aiohttp import WSCloseCode, web

_STOP_S = 2.0


class HttpServer:
    """Routes on one TCP port; port 0 takes a free one."""

    def __init__(self, routes: Iterable[web.RouteDef], *, host: str, port: int, client_max_size: int) -> None:
        self._app = web.Application(client_max_size=client_max_size)
        self._app.add_routes(routes)
        self._app.on_response_prepare.append(self._remember)
        self._app.on_shutdown.append(self._close_sockets)
        self._sockets: WeakSet[web.WebSocketResponse] = WeakSet()
        self._runner = web.AppRunner(self._app, access_log=None, shutdown_timeout=_STOP_S)
        self._host, self._port = host, port

    @property
    def address(self) -> str:
        """`host:port` as bound."""
        return f"{self._host}:{self._port}"

    async def start(self) -> None:
        """Bind and serve. Raises OSError when the port is taken."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        try:
            await site.start()
        except OSError:
            await self._runner.cleanup()
            raise
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close every WebSocket with 1001 (going away), then the port."""
        await self._runner.cleanup()

    async def _remember(self, _request: web.Request, response: web.StreamResponse) -> None:
        if isinstance(response, web.WebSocketResponse):
            self._sockets.add(response)

    async def _close_sockets(self, _app: web.Application) -> None:
        going_away = (
            socket.close(code=WSCloseCode.GOING_AWAY, message=b"server shutdown") for socket in self._sockets
        )
        await asyncio.gather(*going_away, return_exceptions=True)


def peer_of(request: web.Request) -> str:
    """The other end's `host:port`."""
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) and len(peer) >= 2 else "unknown"
