"""Twilio's end of one ConversationRelay WebSocket as a Sans-I/O state machine.

Twilio turns the caller's speech into text and the server's text into speech. Messages are those of Twilio's docs,
"ConversationRelay WebSocket messages". It has the same fields and methods as `MediaStream` for what both do: how much
was heard, and until when it plays. Time is seconds of call time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from leakline.fakes.twilio.media_stream import StreamIds

_SECONDS_A_WORD = 0.3
"""How long a spoken word takes, about."""
_PLAY_S = 1.0
"""How long the fake takes to play a file, whose real length it does not know."""
_KINDS = ("text", "play", "sendDigits", "language", "end")
"""Types of the messages that a server may send."""


@dataclass
class ConversationRelay:
    """One session, from `open` to the server's `end` or the close."""

    ids: StreamIds
    custom_parameters: Mapping[str, str] = field(default_factory=dict)
    caller: str = "+15005550006"
    called: str = "+15005550001"
    welcome_greeting: str = ""
    """What Twilio says to the caller before anything else (the TwiML's `welcomeGreeting`)."""
    heard_s: float = 0.0
    """Seconds that it takes to speak all text received from the server so far."""
    playing_until: float = 0.0
    """Time at which all of it has been spoken."""
    said: list[str] = field(default_factory=list)
    """The server's text of each finished turn."""
    ended: str | None = None
    """The `handoffData` of the server's `end` message; None before it."""
    problems: list[str] = field(default_factory=list)
    """The errors sent for messages that are not valid."""
    _turn: str = ""
    _began_at: float = 0.0

    def open(self) -> list[str]:
        """The message that begins the session; the welcome greeting, if any, starts to play."""
        if self.welcome_greeting:
            self._speak({"token": self.welcome_greeting, "last": True}, 0.0)
        setup = {
            "type": "setup",
            "sessionId": "VX" + self.ids.stream_sid[2:],
            "accountSid": self.ids.account_sid,
            "callSid": self.ids.call_sid,
            "parentCallSid": "",
            "from": self.caller,
            "to": self.called,
            "forwardedFrom": "",
            "callerName": "",
            "direction": "inbound",
            "callType": "PSTN",
            "callStatus": "IN-PROGRESS",
            "customParameters": dict(self.custom_parameters),
        }
        return [json.dumps(setup)]

    def prompt(self, text: str, now: float) -> list[str]:
        """The messages for a caller who has said `text`, with an interrupt first if the agent was speaking."""
        messages = []
        if now < self.playing_until:
            spoken_s = max(0.0, now - self._began_at)
            spoken = (self.said[-1] if self.said else self._turn).split()[: int(spoken_s / _SECONDS_A_WORD)]
            interrupt = {
                "type": "interrupt",
                "utteranceUntilInterrupt": " ".join(spoken),
                "durationUntilInterruptMs": str(round(1000 * spoken_s)),
            }
            messages.append(json.dumps(interrupt))
            self.playing_until = now
        messages.append(json.dumps({"type": "prompt", "voicePrompt": text, "lang": "en-US", "last": True}))
        return messages

    def dtmf(self, digit: str) -> str:
        """The message for a key that the caller pressed."""
        return json.dumps({"type": "dtmf", "digit": digit})

    def stop(self) -> list[str]:
        """Nothing: the WebSocket just closes."""
        return []

    def played(self, _now: float) -> list[str]:
        """Nothing: Twilio does not report what has been spoken."""
        return []

    def receive(self, message: str | bytes, now: float) -> list[str]:
        """Take one message of the server; one that is not valid is answered with Twilio's `error` message."""
        try:
            event = json.loads(message)
        except (ValueError, RecursionError):
            return self._refuse(message)
        if not isinstance(event, dict) or event.get("type") not in _KINDS:
            return self._refuse(message)
        match event["type"]:
            case "text":
                if not isinstance(event.get("token"), str):
                    return self._refuse(message)
                self._speak(event, now)
            case "play":
                self._plays(_PLAY_S, now)
            case "end":
                handoff = event.get("handoffData", "")
                self.ended = handoff if isinstance(handoff, str) else json.dumps(handoff)
        return []

    def _speak(self, event: dict[str, Any], now: float) -> None:
        token: str = event["token"]
        self._turn += token
        self._plays(len(token.split()) * _SECONDS_A_WORD, now)
        if event.get("last") is True:
            self.said.append(self._turn)
            self._turn = ""

    def _plays(self, seconds: float, now: float) -> None:
        if now >= self.playing_until:
            self._began_at = now
        self.heard_s += seconds
        self.playing_until = max(now, self.playing_until) + seconds

    def _refuse(self, message: str | bytes) -> list[str]:
        text = f"Invalid message received: {message[:60]!r}"
        self.problems.append(text)
        return [json.dumps({"type": "error", "description": text})]
