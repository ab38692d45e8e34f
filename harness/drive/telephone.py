"""Both fakes together, for development and tests: a model that follows a scenario, a telephone that plays it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from urllib.parse import urlsplit, urlunsplit

from leakline.fakes.browser import ENDPOINT as BROWSER
from leakline.fakes.faults import FaultPlan, Rule
from leakline.fakes.ledger import Ledger
from leakline.fakes.openai import OpenAIServer
from leakline.fakes.twilio import (
    AnyStream,
    CallEnd,
    CallParties,
    Pace,
    Phone,
    PhoneCall,
    StreamCaller,
    StreamIds,
    TwilioRest,
    machine_for,
)
from leakline.harness.drive.meter import Heard
from leakline.harness.drive.scripted_call import PATIENCE_S, ScriptedCall
from leakline.scenarios.scenario import Scenario

API_KEY = "sk-leakline-fake-key"
"""What a server is given as OPENAI_API_KEY. Not a secret: only the fake accepts it."""


def model_environment(openai: OpenAIServer, key: str = API_KEY) -> dict[str, str]:
    """The environment variables that lead a server to the fake OpenAI."""
    return {
        "OPENAI_API_KEY": key,
        "OPENAI_BASE_URL": openai.base_url,
        "OPENAI_REALTIME_URL": openai.realtime_url,
    }


@dataclass(frozen=True)
class CallResult:
    """How one call of a `Telephone` went."""

    end: CallEnd
    """How its stream ended; `refused` when there was none."""
    failure: str
    """Why the call did not go as scripted; empty when it did."""
    heard_s: float
    """Seconds of audio that the caller heard."""
    problems: tuple[str, ...] = ()
    """What Twilio would have put into its debugger."""
    is_unanswered: bool = False
    """Whether it failed because the caller heard nothing while it waited for an answer."""
    heard: Heard = field(default=Heard())
    """The audio quality, in seconds of call time."""
    webhook_s: float | None = None
    """Real seconds until the voice webhook was answered; None where there was none."""
    twiml_s: float | None = None
    """Real seconds from there until the TwiML opened a stream; None where it did not."""


class Telephone:
    """Makes scripted calls to a server, by its voice webhook (`http://`) or straight to its stream (`ws://`)."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        pace: Pace | None = None,
        parties: CallParties | None = None,
        faults: FaultPlan | None = None,
        numbers: Iterator[int] | None = None,
    ) -> None:
        self._faults = faults or FaultPlan()
        self._ledger = ledger
        self._pace = pace or Pace()
        self._parties = parties or CallParties()
        self._numbers = numbers or count(1)
        self.patience_s = PATIENCE_S
        """How long its callers wait for the agent to say something, in seconds (see `ScriptedCall`)."""

    async def call(self, url: str, scenario: Scenario, *, digits: tuple[str, ...] = ()) -> CallResult:
        """Make one call and wait for its end. Each `Gather` of the TwiML gets the next of `digits`."""
        call = self.caller(scenario)
        if scenario.browser is not None:
            page = _page(url, scenario.browser.path)
            session = StreamCaller(page, self._ledger, pace=self._pace, faults=self._faults, endpoint=BROWSER)
            return result_of(call, await session.call(call, call.ids.call_sid))
        if url.startswith("ws"):
            stream = StreamCaller(url, self._ledger, pace=self._pace, faults=self._faults)
            return result_of(call, await stream.call(call, call.ids.call_sid))
        phone = Phone(url, self._ledger, parties=self._parties, pace=self._pace, digits=digits, faults=self._faults)
        return result_by_webhook(call, await phone.call(lambda stream: on_stream(call, stream), call.ids))

    def caller(self, scenario: Scenario) -> ScriptedCall:
        """A new caller with SIDs of its own."""
        ids = StreamIds.numbered(next(self._numbers))
        return ScriptedCall(scenario, ids, speed=self._pace.speed, patience_s=self.patience_s)


def _page(url: str, path: str) -> str:
    """The address of a browser's WebSocket, on the server of `url`."""
    server = urlsplit(url)
    scheme = "wss" if server.scheme in ("https", "wss") else "ws"
    return urlunsplit((scheme, server.netloc, path, "", ""))


def on_stream(call: ScriptedCall, stream: AnyStream) -> ScriptedCall:
    """`call`, connected to a stream of the kind that the TwiML asks for, with its custom parameters."""
    call.stream = machine_for(stream, call.ids)
    return call


def result_by_webhook(call: ScriptedCall, made: PhoneCall) -> CallResult:
    """The result of a call by the voice webhook."""
    call.problems += made.problems
    if made.streams:
        return replace(result_of(call, made.streams[0]), webhook_s=made.webhook_s, twiml_s=made.twiml_s)
    reason = "; ".join(made.problems) or f"the TwiML opened no stream ({made.status})"
    return replace(result_of(call, CallEnd("refused", reason)), webhook_s=made.webhook_s)


def result_of(call: ScriptedCall, end: CallEnd) -> CallResult:
    """The result of a call on a stream, by what the caller saw and how the stream ended."""
    if end.kind == "refused":
        call.refused(end.detail)
    elif end.kind == "server":
        call.ended_by_server(end.detail)
    return CallResult(end, call.failure, call.stream.heard_s, tuple(call.problems), call.is_unanswered, call.heard)


@dataclass(frozen=True)
class Fakes:
    """Both fakes, running, and a telephone that makes calls by their scenario."""

    openai: OpenAIServer
    twilio: TwilioRest
    telephone: Telephone
    ledger: Ledger
    key: str = API_KEY
    """The API key that a server must give."""

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that lead a server to both fakes."""
        return {
            **model_environment(self.openai, self.key),
            "TWILIO_ACCOUNT_SID": self.twilio.parties.account_sid,
            "TWILIO_AUTH_TOKEN": self.twilio.parties.auth_token,
            "TWILIO_API_URL": self.twilio.url,
        }


@asynccontextmanager
async def running(
    scenario: Scenario,
    *,
    speed: float = 1.0,
    faults: Iterable[Rule] = (),
    openai_port: int = 0,
    twilio_port: int = 0,
    listen: str = "127.0.0.1",
    key: str = "",
) -> AsyncIterator[Fakes]:
    """Run both fakes on the IP address `listen` for the length of a `with`. Raises OSError when a port is in use.

    With a `key` they accept no other as the API key and as Twilio's auth token. Port 0 takes a free one. `speed` is
    call seconds per real second.
    """
    ledger, pace = Ledger(), Pace(speed)
    plan = FaultPlan((*faults, *scenario.fault_rules))
    telephone = Telephone(ledger, pace=pace, faults=plan)

    def pick_up(stream: AnyStream) -> ScriptedCall:
        return on_stream(telephone.caller(scenario), stream)

    parties = CallParties(auth_token=key) if key else CallParties()
    openai = OpenAIServer(
        scenario.model_script, ledger, speed=speed, faults=plan, host=listen, port=openai_port, key=key
    )
    twilio = TwilioRest(pick_up, ledger, parties=parties, pace=pace, faults=plan, host=listen, port=twilio_port)
    async with openai, twilio:
        yield Fakes(openai, twilio, telephone, ledger, key or API_KEY)
