"""Twilio's end of one ConversationRelay WebSocket as a Sans-I/O state machine.

Twilio turns the caller's speech into text and the server's text into speech. Messages are those of Twilio's docs,
"ConversationRelay WebSocket messages". It has the face of a `MediaStream` where the two do the same: what has been
heard, and until when it plays. Time is seconds of call time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from leakline.fakes.twilio.media_stream import StreamIds

_SECONDS_A_WORD = 0.3
_PLAY_S = 1.0
_KINDS = ("text", "play", "sendDigits", "language", "end")


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
    """Seconds of speech that the server's text has come to so far."""
    playing_until: float = 0.0
    """Time at which all of it has been spoken."""
    said: list[str] = field(default_factory=list)
    """What the server said, a text for each turn."""
    ended: str | None = None
    """The handoff data of the server's `end`; None before it."""
    problems: list[str] = field(default_factory=list)
    """Messages that Twilio answers with an error."""
    _turn: str = ""
    _began_at: float = 0.0

    def open(self) -> list[str]:
        """The message that begins the session; the greeting, if any, begins to be spoken."""
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
        """The caller has said `text`; if the agent was speaking, that interrupts it first."""
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
        """A key that the caller pressed."""
        return json.dumps({"type": "dtmf", "digit": digit})

    def stop(self) -> list[str]:
        """Nothing is said at the end: the WebSocket closes."""
        return []

    def played(self, _now: float) -> list[str]:
        """Nothing is told of what has been spoken."""
        return []

    def receive(self, message: str | bytes, now: float) -> list[str]:
        """Take one message of the server; a wrong one is answered with Twilio's `error` message."""
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
