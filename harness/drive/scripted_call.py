"""The call engine: plays the caller's end of a scenario as a Sans-I/O machine.

It is driven by a 20 ms beat of call time and by what the server sends; it opens no socket and reads no clock. The
same machine serves the soak and the load run.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache

from leakline.fakes.audio import FRAME_S, AudioFormat, speech_frames, tagged_silence
from leakline.fakes.browser import BrowserStream
from leakline.fakes.twilio.caller import Goodbye
from leakline.fakes.twilio.media_stream import MediaStream, StreamError, StreamIds
from leakline.fakes.twilio.relay import ConversationRelay
from leakline.harness.drive.meter import Heard, Meter
from leakline.harness.drive.uplink import Message, Uplink
from leakline.scenarios.caller import PAYLOAD, Browser
from leakline.scenarios.scenario import Scenario
from leakline.scenarios.steps import Agent, Drop, HangUp, Listen, Pause, Press, Say, Send

PATIENCE_S = 5.0
"""How long a caller usually waits for the agent to say something, in seconds."""

_QUIET_S = 1.0
"""Seconds of call time without new audio after which the agent's turn is over, if it was shorter than scripted."""
_LEAST_REAL_QUIET_S = 0.3
"""The same at the least in real seconds, for fast calls: the server's own work does not speed up with the call."""
_TOLERANCE_S = 0.06
"""By how much the audio may fall short of the script's length and still count as all of it: three frames."""


@lru_cache(maxsize=64)
def _spoken(seconds: float, fmt: AudioFormat) -> tuple[str, ...]:
    """Base64 frames of speech: encoded once, since every call says the same."""
    return tuple(base64.b64encode(frame).decode("ascii") for frame in speech_frames(seconds, fmt=fmt))


CallerStream = MediaStream | ConversationRelay | BrowserStream
"""The caller's end of its connection to the server: a Twilio stream of either kind, or a browser's WebSocket."""


def _default_stream(browser: Browser | None, ids: StreamIds) -> MediaStream | BrowserStream:
    if browser is None:
        return MediaStream(ids)
    before, _, after = browser.audio.partition(PAYLOAD)
    return BrowserStream(before, after, browser.format)


class ScriptedCall:
    """One call by the script: a `StreamDriver` for `fakes.twilio.StreamCaller`.

    Args:
        speed: call seconds per second; patience is kept in real time too.
        patience_s: how long the caller waits for the agent to say something: in call time, and at least as long in
            real time.
        stream: the caller's end of the connection; by default a new Media Stream, or a browser's session where
            the scenario has a browser. It may be replaced until `begin`.
    """

    def __init__(
        self,
        scenario: Scenario,
        ids: StreamIds,
        *,
        speed: float = 1.0,
        patience_s: float = PATIENCE_S,
        stream: CallerStream | None = None,
    ) -> None:
        self.goodbye: Goodbye | None = None
        self.failure = ""
        """Why the call did not go as scripted; empty while it does."""
        self.is_unanswered = False
        """Whether it failed because the caller heard nothing while it waited for an answer."""
        self.problems: list[str] = []
        """Messages of the server that Twilio would have refused."""
        self.ids = ids
        self.stream: CallerStream = stream if stream is not None else _default_stream(scenario.browser, ids)
        # It carries the call's number, so that the fake model can tell which call a session belongs to.
        self._silence = base64.b64encode(tagged_silence(ids.number)).decode("ascii")
        self._steps = scenario.steps
        self._is_refusable = scenario.refusable
        self._at = -1
        self._is_done: Callable[[float], bool] = _at_once
        self._frames: tuple[str, ...] = ()
        self._next = 0  # an index into frames that all calls share: a queue for each call would miss the CPU's cache
        self._words: str | None = None
        self._keys: deque[str] = deque()
        self._meter = Meter()
        self._media: MediaStream | BrowserStream | None = None
        self._format: AudioFormat = scenario.browser.format if scenario.browser is not None else "audio/pcmu"
        self._uplink = Uplink(scenario.network, ids.number) if scenario.network is not None else None
        self._page: list[str] = []
        self._since = 0.0
        self._heard_before_s = 0.0
        self._expected_s = 0.0
        self._last_audio_at = 0.0
        self._patience_s = patience_s * max(1.0, speed)
        self._quiet_s = max(_QUIET_S, _LEAST_REAL_QUIET_S * speed)

    @property
    def finished(self) -> bool:
        """Whether the script was followed to its last step."""
        return not self.failure and self._at >= len(self._steps) - 1

    @property
    def heard(self) -> Heard:
        """The audio quality so far."""
        return self._meter.heard()

    def begin(self) -> Sequence[Message]:
        """The first messages, Twilio's or the page's."""
        self._media = self.stream if not isinstance(self.stream, ConversationRelay) else None
        if isinstance(self.stream, BrowserStream):
            self._silence = ""
        messages = self.stream.open()
        self._heard_before_s = self.stream.heard_s  # a greeting of Twilio's own is not the agent's
        return messages

    def receive(self, message: str | bytes, now: float) -> Sequence[Message]:
        """Take a message of the server."""
        stream = self.stream
        heard_s, played_until = stream.heard_s, stream.playing_until
        try:
            answer = stream.receive(message, now)
        except StreamError as error:
            self.problems.append(str(error))
            return []
        if stream.heard_s > heard_s:
            self._last_audio_at = max(now, stream.playing_until)
            self._meter.audio(now, stream.heard_s - heard_s, played_until)
        elif stream.playing_until < played_until:
            self._meter.silent(now)
        if self._media is None and isinstance(stream, ConversationRelay):
            self.problems = stream.problems
            if stream.ended is not None:
                self.goodbye = "stop"
        return answer if self._uplink is None else self._uplink.answer(answer)

    def tick(self, now: float) -> Sequence[Message]:
        """The messages of the 20 ms frame that is due `now`."""
        if self._uplink is None:
            at = self._next
            if at < len(self._frames) and self._media is not None and not self._keys and not self._media.marks:
                self._next = at + 1
                return self._media.media(self._frames[at])  # the fast path: nine of ten frames of a caller who speaks
            return self._due(now)
        messages = self._uplink.frame(now, self._due(now))
        return messages if self.goodbye != "stop" else [*messages, *self._uplink.flush()]

    def _due(self, now: float) -> Sequence[Message]:
        while self.goodbye is None and self._is_done(now):
            self._begin_step(now)
        messages: list[Message] = [*self.stream.played(now), *self._page]
        self._page = []
        if self._keys and not isinstance(self.stream, BrowserStream):
            messages.append(self.stream.dtmf(self._keys.popleft()))
        if self.goodbye == "stop":
            return [*messages, *self.stream.stop()]
        if self.goodbye is None and self._media is not None:
            messages += self._sound(self._take_frame() or self._silence)
        elif self.goodbye is None and isinstance(self.stream, ConversationRelay):
            # The words take as long as their audio would; the server gets them as text when they have been said.
            is_last = self._take_frame() and not self._is_speaking
            if is_last and self._words is not None:
                messages += self.stream.prompt(self._words, now)
        return messages

    @property
    def _is_speaking(self) -> bool:
        return self._next < len(self._frames)

    def _take_frame(self) -> str:
        """The next frame of what the caller says; empty when it has been said."""
        if not self._is_speaking:
            return ""
        self._next += 1
        return self._frames[self._next - 1]

    def _sound(self, payload: str) -> Sequence[Message]:
        if self._media is None:
            return ()
        if self._uplink is not None and self._uplink.loses() and isinstance(self._media, MediaStream):
            self._media.lose()
            return ()
        return self._media.media(payload)

    def stop(self) -> Sequence[Message]:
        """The messages that end the stream when the call is ended from outside."""
        return self.stream.stop()

    def refused(self, detail: str) -> None:
        """Note that the server accepted no stream: a failure unless the scenario is refusable."""
        if not self._is_refusable:
            self.failure = f"refused: {detail}"

    def ended_by_server(self, detail: str) -> None:
        """Note that the server ended the stream: a failure unless the script was finished or is refusable."""
        if not self.finished and not self.failure and not self._is_refusable:
            self.failure = f"the server {detail} during {self._step_name()}"

    def _begin_step(self, now: float) -> None:
        self._at += 1
        self._since = now
        self._is_done = _at_once
        match self._steps[self._at]:
            case Say(seconds=seconds, transcript=transcript):
                self._frames, self._next, self._words = _spoken(seconds, self._format), 0, transcript
                self._meter.speaks(now, self.stream.playing_until)
                self._is_done = self._has_spoken
            case Agent(seconds=seconds, transcript=transcript, calls=calls):
                self._expected_s += seconds if transcript or not calls else 0.0
            case Press(digits=digits):
                self._keys = deque(digits)
                self._is_done = self._has_pressed
            case Send(message=message):
                self._page.append(message)
            case Pause(seconds=seconds):
                until = now + seconds - FRAME_S / 2
                self._is_done = lambda now: now >= until
            case Listen(seconds=seconds):
                self._is_done = lambda now: self._has_listened(seconds, now)
            case HangUp():
                self.goodbye = "stop"
            case Drop():
                self.goodbye = "reset"

    def _has_spoken(self, now: float) -> bool:
        if self._is_speaking:
            return False
        self._meter.has_spoken(now)
        return True

    def _has_pressed(self, _now: float) -> bool:
        return not self._keys

    def _has_listened(self, seconds: float | None, now: float) -> bool:
        heard_s = self.stream.heard_s - self._heard_before_s
        still_playing_s = max(0.0, self.stream.playing_until - now)
        if heard_s <= 0:
            if now - self._since < self._patience_s:
                return False
            self.failure = f"heard nothing in {self._step_name()}"
            self.is_unanswered = True
            self.goodbye = "stop"
            return False
        if seconds is not None:
            done = heard_s - still_playing_s >= seconds
        else:
            as_expected = self._expected_s > 0 and heard_s >= self._expected_s - _TOLERANCE_S
            quiet = now - self._last_audio_at >= self._quiet_s
            done = still_playing_s <= 0 and (as_expected or quiet)
        if done:
            self._heard_before_s = self.stream.heard_s
            self._expected_s = 0.0
        return done

    def _step_name(self) -> str:
        step = self._steps[max(0, self._at)]
        return f"step {max(0, self._at) + 1} ({type(step).__name__})"


def _at_once(_now: float) -> bool:
    return True
