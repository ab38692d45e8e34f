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
    Line,
    Pace,
    Phone,
    PhoneCall,
    StreamCaller,
    StreamIds,
    TwilioRest,
    line_for,
)
from leakline.harness.drive.meter import Heard
from leakline.harness.drive.scripted_call import PATIENCE_S, ScriptedCall
from leakline.scenarios.scenario import Scenario

API_KEY = "sk-leakline-fake-key"
"""What a server is given as OPENAI_API_KEY. Not a secret: only the fake takes it."""


def model_environment(openai: OpenAIServer, key: str = API_KEY) -> dict[str, str]:
    """What a server needs in its environment to talk to the fake OpenAI."""
    return {
        "OPENAI_API_KEY": key,
        "OPENAI_BASE_URL": openai.base_url,
        "OPENAI_REALTIME_URL": openai.realtime_url,
    }


@dataclass(frozen=True)
class Placed:
    """One call that a `Telephone` made, and how it went."""

    end: CallEnd
    """How its stream ended; `refused` when there was none."""
    failure: str
    """Why it did not go as scripted; empty when it did."""
    heard_s: float
    """Seconds of audio that the caller heard."""
    problems: tuple[str, ...] = ()
    """What Twilio would have put into its debugger."""
    is_unanswered: bool = False
    """Whether it failed because the agent owes an answer."""
    heard: Heard = field(default=Heard())
    """The same, measured: seconds of call time."""
    webhook_s: float | None = None
    """Real seconds of the voice webhook, and then until the TwiML came to a stream; None where there was none."""
    twiml_s: float | None = None


class Telephone:
    """Makes scripted calls to a server, by its voice webhook (`http://`) or straight to its stream (`ws://`)."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        pace: Pace | None = None,
        line: Line | None = None,
        faults: FaultPlan | None = None,
        numbers: Iterator[int] | None = None,
    ) -> None:
        self._faults = faults or FaultPlan()
        self._ledger = ledger
        self._pace = pace or Pace()
        self._line = line or Line()
        self._numbers = numbers or count(1)
        self.patience_s = PATIENCE_S
        """How long its callers wait for the agent to say something."""

    async def call(self, url: str, scenario: Scenario, *, digits: tuple[str, ...] = ()) -> Placed:
        """Make one call and stay on the line to its end. `digits` are pressed at each `Gather`."""
        call = self.caller(scenario)
        if scenario.browser is not None:
            page = _page(url, scenario.browser.path)
            session = StreamCaller(page, self._ledger, pace=self._pace, faults=self._faults, endpoint=BROWSER)
            return placed(call, await session.call(call, call.ids.call_sid))
        if url.startswith("ws"):
            stream = StreamCaller(url, self._ledger, pace=self._pace, faults=self._faults)
            return placed(call, await stream.call(call, call.ids.call_sid))
        phone = Phone(url, self._ledger, line=self._line, pace=self._pace, digits=digits, faults=self._faults)
        return by_webhook(call, await phone.call(lambda stream: on_line(call, stream), call.ids))

    def caller(self, scenario: Scenario) -> ScriptedCall:
        """A new caller with SIDs of its own."""
        ids = StreamIds.numbered(next(self._numbers))
        return ScriptedCall(scenario, ids, speed=self._pace.speed, patience_s=self.patience_s)


def _page(url: str, path: str) -> str:
    """The address of a browser's WebSocket, on the server of `url`."""
    server = urlsplit(url)
    scheme = "wss" if server.scheme in ("https", "wss") else "ws"
    return urlunsplit((scheme, server.netloc, path, "", ""))


def on_line(call: ScriptedCall, stream: AnyStream) -> ScriptedCall:
    """`call` on a line of the kind that the TwiML asks for, with the stream's custom parameters."""
    call.stream = line_for(stream, call.ids)
    return call


def by_webhook(call: ScriptedCall, made: PhoneCall) -> Placed:
    """How a call by the voice webhook went."""
    call.problems += made.problems
    if made.streams:
        return replace(placed(call, made.streams[0]), webhook_s=made.webhook_s, twiml_s=made.twiml_s)
    reason = "; ".join(made.problems) or f"the TwiML opened no stream ({made.status})"
    return replace(placed(call, CallEnd("refused", reason)), webhook_s=made.webhook_s)


def placed(call: ScriptedCall, end: CallEnd) -> Placed:
    """How a call went, from both ends."""
    if end.kind == "refused":
        call.refused(end.detail)
    elif end.kind == "server":
        call.ended_by_server(end.detail)
    return Placed(end, call.failure, call.stream.heard_s, tuple(call.problems), call.is_unanswered, call.heard)


@dataclass(frozen=True)
class Fakes:
    """Both fakes, running."""

    openai: OpenAIServer
    twilio: TwilioRest
    telephone: Telephone
    ledger: Ledger
    key: str = API_KEY
    """What a server gives as its API key."""

    @property
    def environment(self) -> dict[str, str]:
        """What a server needs in its environment to talk to them."""
        return {
            **model_environment(self.openai, self.key),
            "TWILIO_ACCOUNT_SID": self.twilio.line.account_sid,
            "TWILIO_AUTH_TOKEN": self.twilio.line.auth_token,
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
    """Both fakes for the length of a `with`, on the address `listen`. Raises OSError when a port is taken.

    With a `key` they take no other, as the API key and as Twilio's auth token.
    """
    ledger, pace = Ledger(), Pace(speed)
    plan = FaultPlan((*faults, *scenario.fault_rules))
    telephone = Telephone(ledger, pace=pace, faults=plan)

    def pick_up(stream: AnyStream) -> ScriptedCall:
        return on_line(telephone.caller(scenario), stream)

    line = Line(auth_token=key) if key else Line()
    openai = OpenAIServer(
        scenario.model_script, ledger, speed=speed, faults=plan, host=listen, port=openai_port, key=key
    )
    twilio = TwilioRest(pick_up, ledger, line=line, pace=pace, faults=plan, host=listen, port=twilio_port)
    async with openai, twilio:
        yield Fakes(openai, twilio, telephone, ledger, key or API_KEY)
