"""A telephone call through Twilio: the voice webhook, its TwiML, the stream and the status callbacks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlencode, urljoin, urlsplit, urlunsplit

from aiohttp import ClientError, ClientSession, ClientTimeout

from leakline.fakes.faults import FaultPlan
from leakline.fakes.ledger import EndReason, Ledger, reason_for_status
from leakline.fakes.twilio import twiml
from leakline.fakes.twilio.beat import Pace
from leakline.fakes.twilio.caller import CallEnd, StreamCaller, StreamDriver
from leakline.fakes.twilio.failing import strike_request
from leakline.fakes.twilio.flow import Action, CallFlow, End, Fetch, Open, Wait
from leakline.fakes.twilio.media_stream import MediaStream, StreamIds
from leakline.fakes.twilio.relay import ConversationRelay
from leakline.fakes.twilio.signature import HEADER, signature

_WEBHOOK_S = 15.0
"""Seconds that Twilio waits for a webhook's answer (Twilio error 11200)."""

_USER_AGENT = "TwilioProxy/1.1"

AnyStream = twiml.Stream | twiml.ConversationRelay
"""A stream that a TwiML document asks for."""

_EVENTS = {"initiated": "initiated", "ringing": "ringing", "in-progress": "answered"}
"""The StatusCallbackEvent of each call status; of all others it is `completed`."""
_TRACKS = {
    "inbound_track": ("inbound",),
    "outbound_track": ("outbound",),
    "both_tracks": ("inbound", "outbound"),
}

Answer = Callable[[AnyStream], StreamDriver]
"""Makes the caller that talks on a stream."""


def machine_for(stream: AnyStream, ids: StreamIds) -> MediaStream | ConversationRelay:
    """The state machine of Twilio's end of `stream`, with its custom parameters."""
    if isinstance(stream, twiml.ConversationRelay):
        return ConversationRelay(ids, stream.parameters, welcome_greeting=stream.welcome_greeting)
    return MediaStream(ids, stream.parameters, _TRACKS.get(stream.track, ("inbound",)))


@dataclass(frozen=True)
class CallParties:
    """Who calls whom, on which Twilio account. The values are Twilio's test numbers and a made-up account."""

    account_sid: str = f"AC{1:032x}"
    auth_token: str = "0" * 32
    caller: str = "+15005550006"
    called: str = "+15005550001"
    direction: str = "inbound"


@dataclass
class PhoneCall:
    """The state and history of one call."""

    ids: StreamIds
    status: str = "queued"
    """Twilio's call status: `ringing`, `in-progress`, `completed`, `busy`, `failed`, ..."""
    problems: list[str] = field(default_factory=list)
    """What Twilio's debugger would show: errors, and also verbs that the fake does not support."""
    streams: list[CallEnd] = field(default_factory=list)
    """How each stream ended, in order."""
    callbacks: list[str] = field(default_factory=list)
    """The statuses that were sent to the status callback, in order."""
    webhook_s: float | None = None
    """Real seconds until the voice webhook was answered with a document; None without an answer."""
    twiml_s: float | None = None
    """Real seconds from there until the documents opened a stream; None when they did not."""


def on_the_webhooks_server(webhook: str, stream: str) -> str:
    """The URL of a stream, moved to the host and port of the webhook.

    A server's TwiML names its public host, and wss; the fake reaches it where its webhook is.
    """
    server, named = urlsplit(webhook), urlsplit(stream)
    scheme = "wss" if server.scheme == "https" else "ws"
    return urlunsplit((scheme, server.netloc, named.path, named.query, ""))


@dataclass(frozen=True)
class Phone:
    """Makes calls to one server through its voice webhook."""

    webhook: str
    """The URL that a Twilio number would be configured with."""
    ledger: Ledger
    parties: CallParties = field(default_factory=CallParties)
    pace: Pace = field(default_factory=Pace)
    status_callback: str = ""
    """URL that each change of the call's status is posted to; empty for none."""
    status_events: tuple[str, ...] = ("initiated", "ringing", "answered", "completed")
    """The changes that are posted (Twilio's StatusCallbackEvent)."""
    digits: tuple[str, ...] = ()
    """The keys that the caller presses, an entry for each `Gather` in order."""
    faults: FaultPlan = field(default_factory=FaultPlan)
    """How Twilio's own requests and streams fail."""
    stream_url: Callable[[str, str], str] = on_the_webhooks_server
    """Maps (webhook, URL of a stream in the TwiML) to the URL that is opened. The TwiML's URL is what is signed."""

    async def call(self, answer: Answer, ids: StreamIds) -> PhoneCall:
        """Make one call; `answer` makes the caller for each stream that the TwiML opens."""
        return await CallInProgress(self, answer, ids).run()


class CallInProgress:
    """One call of a phone, which can be redirected and hung up from outside while it runs.

    Args:
        first: the verbs to begin with, in place of the webhook's document.
    """

    def __init__(
        self,
        phone: Phone,
        answer: Answer,
        ids: StreamIds,
        *,
        first: tuple[twiml.Verb, ...] | None = None,
    ) -> None:
        self.call = PhoneCall(ids)
        self._phone = phone
        self._answer = answer
        self._first = first
        self._flow = CallFlow(digits=phone.digits)
        self._one_way_streams: list[asyncio.Task[StreamDriver]] = []
        self._doing: asyncio.Task[str | None] | None = None
        self._is_redirected = False
        self._answered_at = 0.0

    async def run(self) -> PhoneCall:
        """Carry the call out from ringing to its end."""
        timeout = ClientTimeout(total=_WEBHOOK_S)
        async with ClientSession(timeout=timeout, headers={"User-Agent": _USER_AGENT}) as self._http:
            for status in ("initiated", "ringing"):
                await self._set_status(status)
            try:
                document = await self._begin()
                if document is not None and not (document and isinstance(document[0], twiml.Reject)):
                    await self._set_status("in-progress")
                status = await self._follow() if document is not None else "failed"
            finally:
                for task in self._one_way_streams:
                    task.cancel()
                await asyncio.gather(*self._one_way_streams, return_exceptions=True)
            self.call.problems += [f"the verb {name} is not played by the fake" for name in self._flow.unknown]
            await self._set_status({"rejected": "busy"}.get(status, status))
        return self.call

    def hang_up(self) -> None:
        """End the call from outside."""
        self._redirect_to((twiml.Hangup(),))

    def redirect(self, url: str, method: twiml.Method = "POST") -> None:
        """Interrupt what the call is doing, and continue with the document at `url`."""
        self._redirect_to((twiml.Redirect(url, method),))

    def play(self, verbs: tuple[twiml.Verb, ...]) -> None:
        """Interrupt what the call is doing, and continue with these verbs."""
        self._redirect_to(verbs)

    def _redirect_to(self, verbs: tuple[twiml.Verb, ...]) -> None:
        self._flow.document(verbs, self._phone.webhook)
        self._is_redirected = True
        if self._doing is not None:
            self._doing.cancel()

    async def _begin(self) -> tuple[twiml.Verb, ...] | None:
        if self._first is None:
            began = time.monotonic()
            document = await self._fetch(Fetch(self._phone.webhook, "POST"))
            if document is not None:
                self._answered_at = time.monotonic()
                self.call.webhook_s = self._answered_at - began
            return document
        self._flow.document(self._first, self._phone.webhook)
        return self._first

    async def _follow(self) -> str:
        """Carry out the documents' actions; returns the status with which the call ends."""
        while True:
            self._is_redirected = False
            self._doing = asyncio.create_task(self._do(self._flow.next()))
            try:
                status = await self._doing
            except asyncio.CancelledError:
                if self._is_redirected:
                    continue
                self._doing.cancel()
                raise
            if status is not None and not self._is_redirected:
                return status

    async def _do(self, action: Action) -> str | None:
        """Carry out one action; returns the final status when it ends the call, else None."""
        match action:
            case End(status=status):
                return status
            case Wait(seconds=seconds):
                await asyncio.sleep(seconds / self._phone.pace.speed)
            case Fetch():
                return "failed" if await self._fetch(action) is None else None
            case Open(stream=stream):
                return "completed" if await self._open(stream) else None
        return None

    async def _open(self, stream: AnyStream) -> bool:
        """Open a stream; returns whether the caller ended the call on it."""
        if isinstance(stream, twiml.Stream) and not stream.bidirectional:
            self._one_way_streams.append(asyncio.create_task(self._stream(stream)))
            return False
        driver = await self._stream(stream)
        machine = getattr(driver, "stream", None)
        handoff = machine.ended if isinstance(machine, ConversationRelay) else None
        if self.call.streams[-1].kind == "caller" and handoff is None:
            return True
        self._flow.stream_ended(stream, {} if handoff is None else {"SessionStatus": "ended", "HandoffData": handoff})
        return False

    async def _stream(self, stream: AnyStream) -> StreamDriver:
        url = self._phone.stream_url(self._phone.webhook, stream.url)
        headers = {HEADER: signature(self._phone.parties.auth_token, stream.url)}
        caller = StreamCaller(
            url, self._phone.ledger, pace=self._phone.pace, headers=headers, faults=self._phone.faults
        )
        driver = self._answer(stream)
        if self.call.twiml_s is None and self.call.webhook_s is not None:
            self.call.twiml_s = time.monotonic() - self._answered_at
        await self._report_stream(stream, "stream-started")
        self.call.streams.append(await caller.call(driver, self.call.ids.call_sid))
        await self._report_stream(stream, "stream-stopped")
        return driver

    async def _report_stream(self, stream: AnyStream, event: str) -> None:
        """Post an event to the stream's own status callback, if it has one."""
        if not isinstance(stream, twiml.Stream) or not stream.status_callback:
            return
        fields = {
            "AccountSid": self._phone.parties.account_sid,
            "CallSid": self.call.ids.call_sid,
            "StreamSid": self.call.ids.stream_sid,
            "StreamName": stream.name or self.call.ids.stream_sid,
            "StreamEvent": event,
        }
        await self._post_callback(urljoin(self._phone.webhook, stream.status_callback), fields)

    async def _post_callback(self, url: str, fields: dict[str, str]) -> None:
        """Post to a status callback; an error is noted as a problem and does not end the call."""
        try:
            await self._request(url, "POST", fields, "status-callback")
        except (ClientError, OSError, TimeoutError) as error:
            self.call.problems.append(f"{url}: {error or type(error).__name__} (Twilio error 11200)")

    async def _fetch(self, fetch: Fetch) -> tuple[twiml.Verb, ...] | None:
        """Fetch a document and continue with it; None for an error at which Twilio would end the call."""
        fields = self._fields(self.call.status) | fetch.fields
        try:
            content_type, body = await self._request(fetch.url, fetch.method, fields, "webhook")
            verbs = twiml.parse(body, content_type)
        except (ClientError, OSError, TimeoutError) as error:
            self.call.problems.append(f"{fetch.url}: {error or type(error).__name__} (Twilio error 11200)")
            return None
        except twiml.TwimlError as error:
            self.call.problems.append(f"{fetch.url}: {error}")
            return None
        self._flow.document(verbs, fetch.url)
        return verbs

    async def _set_status(self, status: str) -> None:
        """Set the call's status, and post it to the status callback."""
        self.call.status = "ringing" if status == "initiated" else status
        if self._phone.status_callback and _EVENTS.get(status, "completed") in self._phone.status_events:
            number = str(len(self.call.callbacks))
            fields = {
                **self._fields(status),
                "SequenceNumber": number,
                "CallbackSource": "call-progress-events",
            }
            self.call.callbacks.append(status)
            await self._post_callback(self._phone.status_callback, fields)

    async def _request(self, url: str, method: str, fields: dict[str, str], kind: str) -> tuple[str, bytes]:
        """(content type, body) of the answer. Raises ClientError, OSError, TimeoutError."""
        signed_url, signed_fields = url, fields
        if method == "GET":
            signed_url, signed_fields = f"{url}{'&' if '?' in url else '?'}{urlencode(fields)}", {}
        headers = {HEADER: signature(self._phone.parties.auth_token, signed_url, signed_fields)}
        entry = self._phone.ledger.opened("twilio", kind, url, call=self.call.ids.call_sid)
        ending, reason = "failed", EndReason.FAILED
        try:
            await strike_request(self._phone.faults, kind, signed_url, method, headers, fields)
            data = fields if method == "POST" else None
            async with self._http.request(method, signed_url, data=data, headers=headers) as response:
                ending, reason = str(response.status), reason_for_status(response.status)
                response.raise_for_status()
                return response.headers.get("Content-Type", ""), await response.read()
        finally:
            self._phone.ledger.closed(entry, ending, reason)

    def _fields(self, status: str) -> dict[str, str]:
        parties = self._phone.parties
        return {
            "CallSid": self.call.ids.call_sid,
            "AccountSid": parties.account_sid,
            "ApiVersion": "2010-04-01",
            "CallStatus": status,
            "Direction": parties.direction,
            "From": parties.caller,
            "To": parties.called,
            "Caller": parties.caller,
            "Called": parties.called,
            "FromCountry": "US",
            "ToCountry": "US",
        }
