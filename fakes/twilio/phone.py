"""A telephone call through Twilio: the voice webhook, the TwiML that it answers, the stream, the status callbacks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit, urlunsplit

from aiohttp import ClientError, ClientSession, ClientTimeout

from fakes.ledger import Ledger
from fakes.twilio import twiml
from fakes.twilio.caller import CallEnd, Pace, StreamCaller, StreamDriver
from fakes.twilio.flow import CallFlow, End, Fetch, Open, Wait
from fakes.twilio.media_stream import StreamIds
from fakes.twilio.signature import HEADER, signature

_WEBHOOK_S = 15.0
"""How long Twilio waits for a webhook (Twilio error 11200)."""

_USER_AGENT = "TwilioProxy/1.1"


@dataclass(frozen=True)
class Line:
    """Who calls whom, on which account. Twilio's test credentials have the same form."""

    account_sid: str = f"AC{1:032x}"
    auth_token: str = "0" * 32
    caller: str = "+15005550006"
    called: str = "+15005550001"
    direction: str = "inbound"


@dataclass
class PhoneCall:
    """What became of one call."""

    ids: StreamIds
    status: str = "queued"
    """Twilio's call status: `ringing`, `in-progress`, `completed`, `busy`, `failed`, ..."""
    problems: list[str] = field(default_factory=list)
    """What Twilio would have put into its debugger: errors, and verbs that the fake does not play."""
    streams: list[CallEnd] = field(default_factory=list)
    """How each stream ended."""
    callbacks: list[str] = field(default_factory=list)
    """The statuses that the status callback was told, in order."""


def on_the_webhooks_server(webhook: str, stream: str) -> str:
    """The stream's URL on the server that the webhook is on.

    A server names the host that the world knows it by, and wss; here it is reached where its webhook is.
    """
    server, named = urlsplit(webhook), urlsplit(stream)
    scheme = "wss" if server.scheme == "https" else "ws"
    return urlunsplit((scheme, server.netloc, named.path, named.query, ""))


@dataclass(frozen=True)
class Phone:
    """Makes calls to one server by its voice webhook."""

    webhook: str
    """The URL that a Twilio number would be given."""
    ledger: Ledger
    line: Line = field(default_factory=Line)
    pace: Pace = field(default_factory=Pace)
    status_callback: str = ""
    """Told `initiated`, `ringing`, `in-progress` and `completed`, in order."""
    digits: tuple[str, ...] = ()
    """What the caller presses at each `Gather`."""
    stream_url: Callable[[str, str], str] = on_the_webhooks_server
    """Maps (webhook, URL of a stream in the TwiML) to the URL that is opened; the signature is of the TwiML's."""

    async def call(self, answer: Callable[[Mapping[str, str]], StreamDriver], ids: StreamIds) -> PhoneCall:
        """Make one call; `answer` gives the caller for a stream with these custom parameters."""
        call = PhoneCall(ids)
        async with ClientSession(
            timeout=ClientTimeout(total=_WEBHOOK_S), headers={"User-Agent": _USER_AGENT}
        ) as http:
            await _Call(self, http, call, answer).run()
        return call


class _Call:
    def __init__(
        self,
        phone: Phone,
        http: ClientSession,
        call: PhoneCall,
        answer: Callable[[Mapping[str, str]], StreamDriver],
    ) -> None:
        self._phone = phone
        self._http = http
        self._call = call
        self._answer = answer
        self._flow = CallFlow(digits=phone.digits)
        self._beside: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """From the ring to the end."""
        for status in ("initiated", "ringing"):
            await self._becomes(status)
        try:
            document = await self._fetch(Fetch(self._phone.webhook, "POST"))
            answered = document and not isinstance(document[0], twiml.Reject)
            if answered:
                await self._becomes("in-progress")
            status = await self._follow() if document is not None else "failed"
        finally:
            for task in self._beside:
                task.cancel()
            await asyncio.gather(*self._beside, return_exceptions=True)
        self._call.problems += [f"the verb {name} is not played by the fake" for name in self._flow.unknown]
        await self._becomes({"rejected": "busy"}.get(status, status))

    async def _follow(self) -> str:
        while True:
            match self._flow.next():
                case End(status=status):
                    return status
                case Wait(seconds=seconds):
                    await asyncio.sleep(seconds / self._phone.pace.speed)
                case Fetch() as fetch:
                    if await self._fetch(fetch) is None:
                        return "failed"
                case Open(stream=stream):
                    if await self._open(stream):
                        return "completed"

    async def _open(self, stream: twiml.Stream | twiml.ConversationRelay) -> bool:
        """Open a stream; True when the caller hung up on it."""
        if isinstance(stream, twiml.ConversationRelay):
            self._call.problems.append("ConversationRelay is not played by the fake yet")
            return False
        if not stream.bidirectional:
            self._beside.append(asyncio.create_task(self._stream(stream)))
            return False
        await self._stream(stream)
        if self._call.streams[-1].kind == "caller":
            return True
        self._flow.stream_ended(stream)
        return False

    async def _stream(self, stream: twiml.Stream) -> None:
        url = self._phone.stream_url(self._phone.webhook, stream.url)
        headers = {HEADER: signature(self._phone.line.auth_token, stream.url)}
        caller = StreamCaller(url, self._phone.ledger, pace=self._phone.pace, headers=headers)
        self._call.streams.append(await caller.call(self._answer(stream.parameters), self._call.ids.call_sid))

    async def _fetch(self, fetch: Fetch) -> tuple[twiml.Verb, ...] | None:
        """Ask for a document and go on with it; None when Twilio would end the call for it."""
        fields = self._fields(self._call.status) | fetch.fields
        try:
            content_type, body = await self._request(fetch.url, fetch.method, fields, "webhook")
            verbs = twiml.parse(body, content_type)
        except (ClientError, OSError, TimeoutError) as error:
            self._call.problems.append(f"{fetch.url}: {error or type(error).__name__} (Twilio error 11200)")
            return None
        except twiml.TwimlError as error:
            self._call.problems.append(f"{fetch.url}: {error}")
            return None
        self._flow.document(verbs, fetch.url)
        return verbs

    async def _becomes(self, status: str) -> None:
        """Take a new status, and tell the status callback."""
        self._call.status = "ringing" if status == "initiated" else status
        if self._phone.status_callback:
            number = str(len(self._call.callbacks))
            fields = {
                **self._fields(status),
                "SequenceNumber": number,
                "CallbackSource": "call-progress-events",
            }
            self._call.callbacks.append(status)
            try:
                await self._request(self._phone.status_callback, "POST", fields, "status-callback")
            except (ClientError, OSError, TimeoutError) as error:
                self._call.problems.append(f"{self._phone.status_callback}: {error} (Twilio error 11200)")

    async def _request(self, url: str, method: str, fields: dict[str, str], kind: str) -> tuple[str, bytes]:
        """(content type, body) of the answer. Raises ClientError, OSError, TimeoutError."""
        signed_url, signed_fields = url, fields
        if method == "GET":
            signed_url, signed_fields = f"{url}{'&' if '?' in url else '?'}{urlencode(fields)}", {}
        headers = {HEADER: signature(self._phone.line.auth_token, signed_url, signed_fields)}
        entry = self._phone.ledger.opened("twilio", kind, url, self._call.ids.call_sid)
        ending = "failed"
        try:
            data = fields if method == "POST" else None
            async with self._http.request(method, signed_url, data=data, headers=headers) as response:
                ending = str(response.status)
                response.raise_for_status()
                return response.headers.get("Content-Type", ""), await response.read()
        finally:
            self._phone.ledger.closed(entry, ending)

    def _fields(self, status: str) -> dict[str, str]:
        line = self._phone.line
        return {
            "CallSid": self._call.ids.call_sid,
            "AccountSid": line.account_sid,
            "ApiVersion": "2010-04-01",
            "CallStatus": status,
            "Direction": line.direction,
            "From": line.caller,
            "To": line.called,
            "Caller": line.caller,
            "Called": line.called,
            "FromCountry": "US",
            "ToCountry": "US",
        }
