"""One HTTP request to the fake OpenAI, and the ways to answer it. The faults of HTTP endpoints strike here."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping

from aiohttp import web

from leakline.fakes.faults import Answered, FaultPlan, Gone, Point
from leakline.fakes.faults.point import Moment
from leakline.fakes.ledger import EndReason, Ledger, reason_for_status
from leakline.fakes.openai.errors import ClientError
from leakline.fakes.serving import peer_of

Handler = Callable[["Exchange"], Awaitable[web.StreamResponse]]

_IN_SUBPROTOCOL = "openai-insecure-api-key."
"""Prefix of the WebSocket subprotocol in which a browser sends its API key (OpenAI docs, "Realtime WebSocket")."""

_LIMITS = {"requests": (10_000, "6ms"), "tokens": (2_000_000, "30ms")}
"""(limit, time to reset) of the `x-ratelimit-*` headers: plausible constants, not counted."""


class Exchange:
    """One request in progress; `endpoint` is its endpoint's name in the ledger and in fault rules."""

    def __init__(
        self,
        request: web.Request,
        endpoint: str,
        faults: FaultPlan,
        refuse: Callable[[float], Awaitable[None]] | None = None,
    ) -> None:
        self.request = request
        self.endpoint = endpoint
        self._faults = faults
        self._refuse = refuse

    async def whole(self, body: bytes, content_type: str) -> web.StreamResponse:
        """Answer with a whole body."""
        fault = self._faults.draw(self.endpoint, "response")
        if fault is None:
            return web.Response(body=body, headers={"Content-Type": content_type})
        response = await self._begin(content_type)
        await fault.strike(self._point(response.write, body))
        if not fault.replaces:
            await response.write(body)
        return response

    async def stream(self, chunks: Iterable[bytes], content_type: str) -> web.StreamResponse:
        """Answer with a stream of chunks."""
        response = await self._begin(content_type)
        for chunk in chunks:
            fault = self._faults.draw(self.endpoint, "chunk")
            if fault is not None:
                await fault.strike(self._point(response.write, chunk))
                if fault.replaces:
                    continue
            await response.write(chunk)
        return response

    async def strike(self, moment: Moment) -> None:
        """Let a fault strike, if one is due. Raises Gone or Answered, as the fault does."""
        fault = self._faults.draw(self.endpoint, moment)
        if fault is not None:
            await fault.strike(self._point(None, b""))

    async def _begin(self, content_type: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": content_type})
        await response.prepare(self.request)
        return response

    def _point(self, send: Callable[[bytes], Awaitable[None]] | None, due: bytes) -> Point:
        return Point(self.request.transport, send=send, due=due, refuse=self._refuse)


def endpoint(
    name: str,
    handler: Handler,
    *,
    ledger: Ledger,
    faults: FaultPlan,
    refuse: Callable[[float], Awaitable[None]] | None = None,
    key: str = "",
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """`handler` as an aiohttp route: noted in the ledger, with faults, the key check, and errors as JSON."""

    async def route(request: web.Request) -> web.StreamResponse:
        entry = ledger.opened("openai", name, peer_of(request), request.path)
        ending, reason = "dropped", EndReason.DROPPED
        try:
            try:
                exchange = Exchange(request, name, faults, refuse)
                await exchange.strike("request")
                check_key(request, key)
                response = await handler(exchange)
            except Answered as answered:
                response = fault_response(answered)
            except ClientError as error:
                response = error_response(error)
            except Gone:
                ending, reason = "ended by a fault", EndReason.FAULT
                return web.Response()  # sent to nobody: the connection has ended
            except ConnectionError:
                return web.Response()  # the client closed before it had the whole answer
            ending, reason = str(response.status), reason_for_status(response.status)
            ledger.moved(entry, received=request.content_length or 0, sent=max(0, response.body_length))
        finally:
            ledger.closed(entry, ending, reason)
        return response

    return route


def check_key(request: web.Request, key: str = "") -> None:
    """Raise ClientError unless the request has the API key `key`, or any key when `key` is empty."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":  # a browser cannot set headers: its key is a subprotocol
        given = next(
            (
                name.strip().removeprefix(_IN_SUBPROTOCOL)
                for name in request.headers.get("Sec-WebSocket-Protocol", "").split(",")
                if name.strip().startswith(_IN_SUBPROTOCOL)
            ),
            "",
        )
    if not given.strip():
        raise missing_key()
    if key and not secrets.compare_digest(given.strip().encode(), key.encode()):
        raise ClientError("Incorrect API key provided.", code="invalid_api_key", status=401)


def missing_key() -> ClientError:
    """The error for a request without an API key."""
    return ClientError(
        "You didn't provide an API key. You need to provide your API key in an Authorization header "
        "using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
        status=401,
    )


def error_response(error: ClientError, headers: Mapping[str, str] | None = None) -> web.Response:
    """The service's error object over HTTP."""
    return web.json_response({"error": error.body}, status=error.status, headers=headers)


def fault_response(answered: Answered) -> web.Response:
    """The HTTP answer of a fault."""
    error = ClientError(str(answered), code=answered.code, status=answered.status, kind=answered.kind)
    return error_response(error, answered.headers)


def service_headers() -> dict[str, str]:
    """The headers that the service adds to every answer."""
    headers = {
        "x-request-id": f"req_{secrets.token_hex(16)}",
        "openai-version": "2020-10-01",
        "openai-organization": "leakline",
        "openai-processing-ms": "10",
    }
    for name, (limit, reset) in _LIMITS.items():
        headers[f"x-ratelimit-limit-{name}"] = str(limit)
        headers[f"x-ratelimit-remaining-{name}"] = str(limit - 1)
        headers[f"x-ratelimit-reset-{name}"] = reset
    return headers
