"""The steps of a call, in the order of time. Durations are seconds of call time."""

from __future__ import annotations

from dataclasses import dataclass

from leakline.fakes.openai.script import FunctionCall


@dataclass(frozen=True, init=False)
class Agent:
    """What the fake model says in its next response; it takes no time of its own in the caller's script."""

    transcript: str
    seconds: float
    calls: tuple[FunctionCall, ...]

    def __init__(
        self,
        transcript: str = "",
        *,
        seconds: float = 1.0,
        calls: list[FunctionCall] | tuple[FunctionCall, ...] = (),
    ) -> None:
        object.__setattr__(self, "transcript", transcript)
        object.__setattr__(self, "seconds", seconds)
        object.__setattr__(self, "calls", tuple(calls))


@dataclass(frozen=True)
class Say:
    """The caller speaks; `transcript` is what the fake model hears."""

    transcript: str
    seconds: float = 1.0


@dataclass(frozen=True)
class Listen:
    """The caller is silent and hears the agent to the end of what it has to say.

    With `seconds` the caller hears only that much, and then goes on: to interrupt, or to hang up on it.
    """

    seconds: float | None = None


@dataclass(frozen=True)
class Pause:
    """The caller is silent for a while, whatever the agent does."""

    seconds: float


@dataclass(frozen=True)
class Press:
    """The caller presses keys: `Press("42#")`."""

    digits: str


@dataclass(frozen=True)
class Send:
    """The caller's page sends a text message of its own: `Send('{"type": "start"}')`. Of a browser's call only."""

    message: str


@dataclass(frozen=True)
class HangUp:
    """The caller hangs up: Twilio sends `stop` and closes the stream."""


@dataclass(frozen=True)
class Drop:
    """The caller's connection dies: a TCP reset, no `stop`, no close frame."""


Step = Agent | Say | Listen | Pause | Press | Send | HangUp | Drop
