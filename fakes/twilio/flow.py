"""How Twilio goes through TwiML: a Sans-I/O machine that says what to do next.

The phone does what it is told (wait, fetch a document, open a stream, end the call) and gives back what came of
it. The rules are those of Twilio's docs: verbs run in order, `Redirect`, `Gather` and an `action` replace the
document, and a call whose document runs out is hung up.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from urllib.parse import urljoin

from leakline.fakes.twilio import twiml
from leakline.fakes.twilio.twiml import Method

_SECONDS_A_WORD = 0.3
_PLAY_S = 1.0
MOST_DOCUMENTS = 50
"""Documents that one call may go through: a redirect that leads back to itself ends there."""


@dataclass(frozen=True)
class Wait:
    """The call goes on for a while: something is said or played, or nobody speaks."""

    seconds: float
    why: str


@dataclass(frozen=True)
class Fetch:
    """Ask the server for the next document."""

    url: str
    method: Method
    fields: dict[str, str] = field(default_factory=dict)
    """More form fields, such as Digits."""


@dataclass(frozen=True)
class Open:
    """Open a stream; a bidirectional one is waited for, a one-way one runs beside what comes next."""

    stream: twiml.Stream | twiml.ConversationRelay


@dataclass(frozen=True)
class End:
    """The call is over: `completed`, `busy`, `rejected`, `failed`."""

    status: str


Action = Wait | Fetch | Open | End


class CallFlow:
    """One call's way through its documents.

    Args:
        digits: what the caller presses at each `Gather`, in order; then nothing.
    """

    def __init__(self, *, digits: tuple[str, ...] = ()) -> None:
        self.unknown: list[str] = []
        """Verbs that the fake does not play, as met."""
        self._digits = deque(digits)
        self._actions: deque[Action] = deque()
        self._verbs: deque[twiml.Verb] = deque()
        self._base = ""
        self._documents = 0

    def document(self, verbs: tuple[twiml.Verb, ...], url: str) -> None:
        """Go on with a new document, that came from `url`."""
        self._documents += 1
        self._base = url
        self._actions.clear()
        self._verbs = deque(verbs)

    def next(self) -> Action:
        """What to do now."""
        while not self._actions:
            if not self._verbs or self._documents > MOST_DOCUMENTS:
                return End("completed" if self._documents <= MOST_DOCUMENTS else "failed")
            self._run(self._verbs.popleft())
        return self._actions.popleft()

    def stream_ended(
        self, stream: twiml.Stream | twiml.ConversationRelay, fields: dict[str, str] | None = None
    ) -> None:
        """A bidirectional stream is over: its `action` is asked for, if it has one, else the next verb runs."""
        if stream.action:
            self._fetch(stream.action, stream.method, fields)

    def _run(self, verb: twiml.Verb) -> None:
        match verb:
            case twiml.Say() | twiml.Play() | twiml.Pause():
                self._actions.append(_prompt(verb))
            case twiml.Redirect(url=url, method=method):
                self._fetch(url, method)
            case twiml.Hangup():
                self._actions.append(End("completed"))
            case twiml.Reject(reason=reason):
                self._actions.append(End("busy" if reason == "busy" else "rejected"))
            case twiml.Gather():
                self._gather(verb)
            case twiml.Dial(action=action, method=method):
                # Nobody is there to dial: the other end does not answer.
                self._actions.append(Wait(1.0, "dial"))
                if action:
                    self._fetch(action, method, {"DialCallStatus": "no-answer"})
            case twiml.Stream() | twiml.ConversationRelay():
                self._actions.append(Open(verb))
            case twiml.Unknown(name=name):
                self.unknown.append(name)

    def _gather(self, gather: twiml.Gather) -> None:
        self._actions.extend(_prompt(prompt) for prompt in gather.prompts)
        if self._digits and "dtmf" in gather.input:
            digits = self._digits.popleft()
            if gather.num_digits:
                digits = digits[: gather.num_digits]
            digits = digits.partition(gather.finish_on_key)[0] if gather.finish_on_key else digits
            self._fetch(gather.action, gather.method, {"Digits": digits})
            return
        self._actions.append(Wait(gather.timeout_s, "gather"))
        if gather.action_on_empty:
            self._fetch(gather.action, gather.method, {"Digits": ""})

    def _fetch(self, url: str, method: Method, fields: dict[str, str] | None = None) -> None:
        self._verbs.clear()  # a new document takes the place of this one
        self._actions.append(Fetch(urljoin(self._base, url), method, fields or {}))


def _prompt(verb: twiml.Say | twiml.Play | twiml.Pause) -> Wait:
    match verb:
        case twiml.Say(text=text, loop=loop):
            return Wait(loop * max(0.2, len(text.split()) * _SECONDS_A_WORD), "say")
        case twiml.Play(loop=loop):
            return Wait(loop * _PLAY_S, "play")
        case twiml.Pause(seconds=seconds):
            return Wait(seconds, "pause")
