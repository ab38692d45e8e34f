"""How the caller's own connections fail: before, in the middle of, and after a request that it makes."""

from __future__ import annotations

import asyncio
from urllib.parse import urlencode, urlsplit

from fakes.faults import Fault, FaultPlan, Gone, Latency, Point
from fakes.faults.point import Moment

GONE_S = 5.0
"""How long a caller that has gone silent is still there, in real seconds; then its connection is reset."""

_MOMENTS: tuple[Moment, ...] = ("request", "chunk", "response")


class RequestFailedError(ConnectionError):
    """A fault has ended the caller's request."""


async def strike_request(
    faults: FaultPlan, endpoint: str, url: str, method: str, headers: dict[str, str], fields: dict[str, str]
) -> None:
    """Let what the plan has for a request of the caller's strike; returns when the request is to be made as always.

    Raises RequestFailedError when the fault ended it, and OSError when the server cannot be reached.
    """
    for moment in _MOMENTS:
        fault = faults.draw(endpoint, moment)
        if isinstance(fault, Latency):
            await fault.strike(Point(None))
        elif fault is not None:
            await _strike(fault, moment, url, _request(url, method, headers, fields))
            raise RequestFailedError(f"ended by the fault {fault.name}")


async def _strike(fault: Fault, moment: Moment, url: str, request: bytes) -> None:
    """A connection of the fault's own, on which as much of the request is sent as `moment` says."""
    server = urlsplit(url)
    secure = server.scheme in ("https", "wss")
    transport, _ = await asyncio.get_running_loop().create_connection(
        asyncio.Protocol, server.hostname or "", server.port or (443 if secure else 80), ssl=secure or None
    )

    async def send(data: bytes) -> None:
        transport.write(data)

    try:
        if moment == "response":
            await send(request)
        async with asyncio.timeout(GONE_S):
            await fault.strike(Point(transport, send=send, due=request if moment == "chunk" else b""))
    except (Gone, TimeoutError):
        pass
    finally:
        transport.abort()


def _request(url: str, method: str, headers: dict[str, str], fields: dict[str, str]) -> bytes:
    server = urlsplit(url)
    body = urlencode(fields).encode() if method == "POST" else b""
    target = (server.path or "/") + (f"?{server.query}" if server.query else "")
    lines = [f"{method} {target} HTTP/1.1", f"Host: {server.netloc}", f"Content-Length: {len(body)}"]
    if body:
        lines.append("Content-Type: application/x-www-form-urlencoded")
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
