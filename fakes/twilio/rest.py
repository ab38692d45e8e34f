"""Twilio's REST API for calls: create, fetch, update, list, delete; and the metadata of recordings.

Resources and errors are those of Twilio's docs, "Calls resource", "Recordings resource" and "Error and Warning
Dictionary"; fields are those that the official SDK reads.
"""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import format_datetime
from itertools import count
from typing import Any
from urllib.parse import urlencode, urlsplit

from aiohttp import web

from leakline.fakes.faults import Answered, FaultPlan, Gone, Point
from leakline.fakes.ledger import EndReason, Ledger, reason_for_status
from leakline.fakes.serving import HttpServer, peer_of
from leakline.fakes.twilio import twiml
from leakline.fakes.twilio.beat import Pace
from leakline.fakes.twilio.media_stream import StreamIds
from leakline.fakes.twilio.phone import Answer, CallInProgress, CallParties, Phone, PhoneCall

_VERSION = "2010-04-01"
_OVER = ("completed", "busy", "failed", "no-answer", "canceled")
"""Call statuses that are final."""
_MOST_CALLS = 10_000
"""How many calls are kept; the oldest are dropped first."""
_E164 = re.compile(r"\+[1-9]\d{1,14}|(sip|client|sim):.+")
_FIRST_NUMBER = 1 << 40
"""Number of the first call, far above those of a run's other calls, so that their SIDs differ."""
_CODES = {401: 20003, 403: 20403, 404: 20404, 429: 20429, 503: 20503}
"""Twilio's error code for each HTTP status of a fault."""


class RestError(Exception):
    """A request that is answered with Twilio's error JSON.

    Args:
        status: the HTTP status.
        code: Twilio's error code.
    """

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.body = {
            "code": code,
            "message": message,
            "more_info": f"https://www.twilio.com/docs/errors/{code}",
            "status": status,
        }
        self.status = status


@dataclass
class _Record:
    """One call that the API has created."""

    running: CallInProgress
    parties: CallParties
    created: datetime
    record: bool
    task: asyncio.Task[PhoneCall] | None = None
    started: datetime | None = None
    ended: datetime | None = None
    final: str = ""

    @property
    def sid(self) -> str:
        return self.running.call.ids.call_sid

    @property
    def status(self) -> str:
        return self.final or self.running.call.status


@dataclass
class TwilioRest:
    """The REST API on a port. Use as an async context manager.

    A call that is created is carried out: the server's TwiML is fetched, and `answer` makes the person who picks up.

    Raises OSError on entering when the port is in use.
    """

    answer: Answer
    ledger: Ledger
    parties: CallParties = field(default_factory=lambda: CallParties(direction="outbound-api"))
    pace: Pace = field(default_factory=Pace)
    faults: FaultPlan = field(default_factory=FaultPlan)
    """How the API fails (endpoint `rest`, moment `request`), and the calls that it makes."""
    tls: ssl.SSLContext | None = None
    """The context to serve https with; None for http."""
    host: str = "127.0.0.1"
    port: int = 0
    _calls: dict[str, _Record] = field(default_factory=dict)
    _numbers: count[int] = field(default_factory=lambda: count(_FIRST_NUMBER))
    _http: HttpServer = field(init=False)

    def __post_init__(self) -> None:
        account = f"/{_VERSION}/Accounts/{{account}}"
        routes = [
            web.post(f"{account}/Calls.json", self._route(self._create)),
            web.get(f"{account}/Calls.json", self._route(self._list)),
            web.get(f"{account}/Calls/{{sid}}.json", self._route(self._fetch)),
            web.post(f"{account}/Calls/{{sid}}.json", self._route(self._update)),
            web.delete(f"{account}/Calls/{{sid}}.json", self._route(self._delete)),
            web.get(f"{account}/Calls/{{sid}}/Recordings.json", self._route(self._recordings)),
            web.get(f"{account}/Recordings.json", self._route(self._recordings)),
            web.get(f"{account}/Recordings/{{recording}}.json", self._route(self._recording)),
            web.route("*", "/{path:.*}", self._route(self._unknown)),
        ]
        self._http = HttpServer(routes, host=self.host, port=self.port, client_max_size=1024 * 1024, tls=self.tls)

    @property
    def address(self) -> str:
        """`host:port` as bound."""
        return self._http.address

    @property
    def url(self) -> str:
        """The API's address, in place of https://api.twilio.com; known once started."""
        return f"http{self._http.secure}://{self._http.address}"

    async def __aenter__(self) -> TwilioRest:
        await self._http.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [record.task for record in self._calls.values() if record.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._http.stop()

    def _route(
        self, handler: Callable[[web.Request, dict[str, str]], Awaitable[web.Response]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def route(request: web.Request) -> web.StreamResponse:
            entry = self.ledger.opened("twilio", "rest", peer_of(request), f"{request.method} {request.path}")
            ending, reason = "dropped", EndReason.DROPPED
            try:
                try:
                    fault = self.faults.draw("rest", "request")
                    if fault is not None:
                        await fault.strike(Point(request.transport))
                    self._authenticate(request)
                    response = await handler(request, await _form(request))
                except RestError as error:
                    response = web.json_response(error.body, status=error.status)
                except Answered as answered:
                    body = RestError(answered.status, _CODES.get(answered.status, 20500), str(answered)).body
                    response = web.json_response(body, status=answered.status, headers=answered.headers)
                except Gone:
                    ending, reason = "ended by a fault", EndReason.FAULT
                    return web.Response()  # sent to nobody: the connection has ended
                ending, reason = str(response.status), reason_for_status(response.status)
            finally:
                self.ledger.closed(entry, ending, reason)
            return response

        return route

    def _authenticate(self, request: web.Request) -> None:
        expected = base64.b64encode(f"{self.parties.account_sid}:{self.parties.auth_token}".encode()).decode()
        account = request.match_info.get("account", self.parties.account_sid)
        if request.headers.get("Authorization") != f"Basic {expected}" or account != self.parties.account_sid:
            raise RestError(401, 20003, "Authenticate")

    async def _create(self, _request: web.Request, form: dict[str, str]) -> web.Response:
        called, caller = form.get("To", ""), form.get("From", "")
        if not called:
            raise RestError(400, 21201, "No 'To' number is specified")
        if not caller:
            raise RestError(400, 21213, "No 'From' number is specified")
        if not _E164.fullmatch(called):
            raise RestError(400, 21211, f"The 'To' number {called} is not a valid phone number.")
        if not _E164.fullmatch(caller):
            raise RestError(400, 21212, f"The 'From' number {caller} is not a valid phone number.")
        url, verbs = _document(form)
        if url is None and verbs is None:
            raise RestError(400, 21205, "Url parameter is required.")
        parties = replace(self.parties, caller=caller, called=called)
        phone = Phone(
            url or "http://127.0.0.1/",
            self.ledger,
            parties=parties,
            pace=self.pace,
            status_callback=form.get("StatusCallback", ""),
            status_events=tuple(form.get("StatusCallbackEvent", "completed").split()),
            faults=self.faults,
        )
        running = CallInProgress(phone, self.answer, StreamIds.numbered(next(self._numbers)), first=verbs)
        recorded = form.get("Record", "").lower() == "true"
        record = _Record(running, parties, datetime.now(UTC), recorded)
        self._calls[record.sid] = record
        while len(self._calls) > _MOST_CALLS:
            self._calls.pop(next(iter(self._calls)))
        answer = self._shown(record)
        record.task = asyncio.create_task(self._run(record))
        return web.json_response(answer, status=201)

    async def _run(self, record: _Record) -> PhoneCall:
        record.started = datetime.now(UTC)
        try:
            return await record.running.run()
        finally:
            record.ended = datetime.now(UTC)

    async def _fetch(self, request: web.Request, _form: dict[str, str]) -> web.Response:
        return web.json_response(self._shown(self._found(request)))

    async def _update(self, request: web.Request, form: dict[str, str]) -> web.Response:
        record = self._found(request)
        status = form.get("Status")
        if status not in (None, "completed", "canceled"):
            raise RestError(400, 20001, f"Status: expected completed or canceled, found {status}")
        url, verbs = _document(form)
        if record.status in _OVER:
            if status != record.status:
                raise RestError(400, 21220, "Call is not in-progress. Cannot redirect.")
        elif status is not None:
            if status == "canceled" and record.status == "in-progress":
                raise RestError(400, 21220, "Call is in-progress: it can be completed, not canceled.")
            record.running.hang_up()
            if status == "canceled":
                record.final = "canceled"
            await self._until_over(record)
        elif verbs is not None:
            record.running.play(verbs)
        elif url is not None:
            record.running.redirect(url, "GET" if form.get("Method", "POST").upper() == "GET" else "POST")
        return web.json_response(self._shown(record))

    async def _until_over(self, record: _Record) -> None:
        if record.task is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(record.task), 5.0)

    async def _list(self, request: web.Request, _form: dict[str, str]) -> web.Response:
        query = request.query
        wanted = {"To": "to", "From": "from", "Status": "status"}
        shown = [self._shown(record) for record in reversed(self._calls.values())]
        for name, key in wanted.items():
            if name in query:
                shown = [call for call in shown if call[key] == query[name]]
        return web.json_response(_page(request, "calls", shown))

    async def _delete(self, request: web.Request, _form: dict[str, str]) -> web.Response:
        record = self._found(request)
        if record.status not in _OVER:
            raise RestError(409, 20409, "Call is in progress. Unable to delete.")
        del self._calls[record.sid]
        return web.Response(status=204)

    async def _recordings(self, request: web.Request, _form: dict[str, str]) -> web.Response:
        records = [self._found(request)] if "sid" in request.match_info else list(self._calls.values())
        shown = [_recording(r) for r in reversed(records) if r.record and r.status == "completed"]
        return web.json_response(_page(request, "recordings", shown))

    async def _recording(self, request: web.Request, _form: dict[str, str]) -> web.Response:
        for record in self._calls.values():
            if record.record and _recording(record)["sid"] == request.match_info["recording"]:
                return web.json_response(_recording(record))
        raise _not_found(request)

    async def _unknown(self, request: web.Request, _form: dict[str, str]) -> web.Response:
        raise _not_found(request)

    def _found(self, request: web.Request) -> _Record:
        record = self._calls.get(request.match_info["sid"])
        if record is None:
            raise _not_found(request)
        return record

    def _shown(self, record: _Record) -> dict[str, Any]:
        uri = f"/{_VERSION}/Accounts/{record.parties.account_sid}/Calls/{record.sid}"
        ended = record.ended if record.status in _OVER else None
        duration = (ended - record.started).total_seconds() if ended and record.started else None
        return {
            "sid": record.sid,
            "account_sid": record.parties.account_sid,
            "to": record.parties.called,
            "to_formatted": record.parties.called,
            "from": record.parties.caller,
            "from_formatted": record.parties.caller,
            "status": record.status,
            "direction": record.parties.direction,
            "api_version": _VERSION,
            "date_created": format_datetime(record.created),
            "date_updated": format_datetime(ended or record.created),
            "start_time": format_datetime(record.started) if record.started else None,
            "end_time": format_datetime(ended) if ended else None,
            "duration": str(round(duration * self.pace.speed)) if duration is not None else None,
            "price": None,
            "price_unit": "USD",
            "answered_by": None,
            "annotation": None,
            "caller_name": None,
            "forwarded_from": None,
            "group_sid": None,
            "parent_call_sid": None,
            "phone_number_sid": None,
            "queue_time": "0",
            "trunk_sid": None,
            "uri": f"{uri}.json",
            "subresource_uris": {"recordings": f"{uri}/Recordings.json"},
        }


async def _form(request: web.Request) -> dict[str, str]:
    try:
        given = await request.post()
        # The values of a field that is given several times (StatusCallbackEvent) are joined by spaces.
        return {name: " ".join(str(value) for value in given.getall(name)) for name in given}
    except ValueError:
        raise RestError(400, 20001, "The body is not a form.") from None


def _document(form: dict[str, str]) -> tuple[str | None, tuple[twiml.Verb, ...] | None]:
    """The document that a request gives for the call: (URL, None), (None, verbs) or two Nones. Raises RestError."""
    if "Twiml" in form:
        try:
            return None, twiml.parse(form["Twiml"])
        except twiml.TwimlError as error:
            raise RestError(400, 21218, f"Invalid TwiML: {error}") from None
    url = form.get("Url")
    if url is not None and urlsplit(url).scheme not in ("http", "https"):
        raise RestError(400, 21205, f"Url is not a valid URL: {url}")
    return url, None


def _recording(record: _Record) -> dict[str, Any]:
    sid = "RE" + record.sid[2:]
    uri = f"/{_VERSION}/Accounts/{record.parties.account_sid}/Recordings/{sid}"
    ended = record.ended or record.created
    return {
        "sid": sid,
        "account_sid": record.parties.account_sid,
        "call_sid": record.sid,
        "api_version": _VERSION,
        "channels": 1,
        "source": "OutboundAPI",
        "status": "completed",
        "duration": str(round((ended - (record.started or record.created)).total_seconds())),
        "date_created": format_datetime(record.created),
        "date_updated": format_datetime(ended),
        "start_time": format_datetime(record.started or record.created),
        "price": None,
        "price_unit": "USD",
        "error_code": None,
        "uri": f"{uri}.json",
        "media_url": f"{uri}",
    }


def _page(request: web.Request, name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """One page of a list, with the links to the pages before and after."""
    try:
        page, size = int(request.query.get("Page", "0")), int(request.query.get("PageSize", "50"))
    except ValueError:
        raise RestError(400, 20001, "Page and PageSize: expected whole numbers") from None
    page, size = max(0, page), min(1000, max(1, size))
    start = page * size

    def uri(number: int) -> str:
        return f"{request.path}?{urlencode({**request.query, 'Page': number, 'PageSize': size})}"

    return {
        name: rows[start : start + size],
        "page": page,
        "page_size": size,
        "start": start,
        "end": max(start, min(start + size, len(rows)) - 1),
        "uri": uri(page),
        "first_page_uri": uri(0),
        "next_page_uri": uri(page + 1) if start + size < len(rows) else None,
        "previous_page_uri": uri(page - 1) if page > 0 else None,
    }


def _not_found(request: web.Request) -> RestError:
    return RestError(404, 20404, f"The requested resource {request.path} was not found")
