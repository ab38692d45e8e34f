"""What the fake model says and hears: plain data, the only source of all transcripts and audio."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, init=False)
class FunctionCall:
    """A function that the model calls in its turn: `FunctionCall("add_to_cart", item="burger")`."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __init__(self, name: str, **arguments: Any) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "arguments", arguments)

    @property
    def arguments_json(self) -> str:
        """The arguments as the service sends them: a string of JSON."""
        return json.dumps(dict(self.arguments))


@dataclass(frozen=True)
class Turn:
    """One response of the model."""

    transcript: str = ""
    """What it says; empty for a turn of function calls alone."""
    seconds: float = 1.0
    """How long the audio plays."""
    calls: tuple[FunctionCall, ...] = ()
    """Functions that it calls, after it has spoken."""


FILLER = Turn("All right.", seconds=0.4)
"""What the model says when a response is requested and the script has no turn left."""


@dataclass(frozen=True)
class ModelScript:
    """Everything that the fake model says and hears, and how fast it speaks.

    Durations are seconds of call time: a run at speed 10 plays them in a tenth of that.
    """

    turns: tuple[Turn, ...] = ()
    """Realtime responses in order; each session starts from the first."""
    hears: tuple[str | None, ...] = ()
    """Transcripts of the caller's turns in order, where transcription is requested; None is one that fails."""
    chat: tuple[str | Turn, ...] = ("OK.",)
    """Replies of chat completions and responses, in order, then from the first again; a string is a turn's text."""
    first_byte_s: float = 0.2
    """Seconds from the request for a response, or an HTTP request, to the first audio or byte."""
    pace: float = 4.0
    """Seconds of audio sent per second of call time: the service sends faster than real time."""
    chunk_s: float = 0.1
    """Seconds of audio in one delta."""
