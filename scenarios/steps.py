"""The steps of a scenario. Durations are seconds of call time."""

from __future__ import annotations

from dataclasses import dataclass

from leakline.fakes.openai.script import FunctionCall


@dataclass(frozen=True, init=False)
class Agent:
    """What the fake model says and calls in its next response. The step itself takes no time."""

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
    """The caller is silent until the agent has finished speaking.

    With `seconds` it listens to only that much of the agent's audio before the next step, such as an interruption.
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
    """The page sends a text message: `Send('{"type": "start"}')`. Only in a browser's call."""

    message: str


@dataclass(frozen=True)
class HangUp:
    """The caller hangs up: Twilio sends `stop` and closes the stream."""


@dataclass(frozen=True)
class Drop:
    """The caller's connection breaks: a TCP reset, without `stop` or a close frame."""


Step = Agent | Say | Listen | Pause | Press | Send | HangUp | Drop
