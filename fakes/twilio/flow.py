"""How Twilio executes TwiML, as a Sans-I/O machine that says what to do next.

The phone carries out each action (wait, fetch a document, open a stream, end the call) and reports the result. The
rules are those of Twilio's docs, "TwiML for Programmable Voice": verbs run in order; `Redirect`, `Gather` and an
`action` replace the document; at the end of the document the call is hung up.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from urllib.parse import urljoin

from leakline.fakes.twilio import twiml
from leakline.fakes.twilio.twiml import Method

_SECONDS_A_WORD = 0.3
"""How long a spoken word takes, about, in call time."""
_PLAY_S = 1.0
"""How long the fake takes to play a file, whose real length it does not know, in call time."""
MOST_DOCUMENTS = 50
"""Documents that one call may execute, so that a redirect to itself comes to an end."""


@dataclass(frozen=True)
class Wait:
    """Let time pass: something is said or played, or there is silence."""

    seconds: float
    """Call time."""
    why: str
    """The verb, in lower case."""


@dataclass(frozen=True)
class Fetch:
    """Ask the server for the next document."""

    url: str
    method: Method
    fields: dict[str, str] = field(default_factory=dict)
    """More form fields, such as Digits."""


@dataclass(frozen=True)
class Open:
    """Open a stream. A bidirectional one must end before the next verb; a one-way one runs while the verbs go on."""

    stream: twiml.Stream | twiml.ConversationRelay


@dataclass(frozen=True)
class End:
    """The call is over."""

    status: str
    """`completed`, `busy`, `rejected` or `failed`."""


Action = Wait | Fetch | Open | End


class CallFlow:
    """Executes the TwiML documents of one call.

    Args:
        digits: the keys that the caller presses, an entry for each `Gather` in order; at later ones none.
    """

    def __init__(self, *, digits: tuple[str, ...] = ()) -> None:
        self.unknown: list[str] = []
        """Verbs that the fake does not support, in the order in which they came."""
        self._digits = deque(digits)
        self._actions: deque[Action] = deque()
        self._verbs: deque[twiml.Verb] = deque()
        self._base = ""
        self._documents = 0

    def document(self, verbs: tuple[twiml.Verb, ...], url: str) -> None:
        """Replace the document with a new one, from `url`: relative URLs in it are resolved against that."""
        self._documents += 1
        self._base = url
        self._actions.clear()
        self._verbs = deque(verbs)

    def next(self) -> Action:
        """The next action."""
        while not self._actions:
            if not self._verbs or self._documents > MOST_DOCUMENTS:
                return End("completed" if self._documents <= MOST_DOCUMENTS else "failed")
            self._run(self._verbs.popleft())
        return self._actions.popleft()

    def stream_ended(
        self, stream: twiml.Stream | twiml.ConversationRelay, fields: dict[str, str] | None = None
    ) -> None:
        """A bidirectional stream has ended: fetch its `action`, if it has one, with these form fields; else go on."""
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
                # There is nobody to dial: the call is never answered.
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
        self._verbs.clear()  # the fetched document replaces this one
        self._actions.append(Fetch(urljoin(self._base, url), method, fields or {}))


def _prompt(verb: twiml.Say | twiml.Play | twiml.Pause) -> Wait:
    match verb:
        case twiml.Say(text=text, loop=loop):
            return Wait(loop * max(0.2, len(text.split()) * _SECONDS_A_WORD), "say")
        case twiml.Play(loop=loop):
            return Wait(loop * _PLAY_S, "play")
        case twiml.Pause(seconds=seconds):
            return Wait(seconds, "pause")
