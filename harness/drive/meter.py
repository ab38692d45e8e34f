"""The audio quality that one caller experiences: answer latency, barge-in, jitter, gaps and underruns.

Pure: the call's state machine feeds it. All times are seconds of call time. Jitter is that of RFC 3550, section
6.4.1, over the server's media messages in place of RTP packets. A server that sends ahead of playback shows some
jitter by design; only an underrun can be heard.
"""

from __future__ import annotations

from dataclasses import dataclass

from leakline.fakes.audio import FRAME_S

_ONE_TURN_S = 0.6
"""Longest silence between two pieces of audio that is still a gap within one turn; after more a new turn begins."""


@dataclass(frozen=True)
class Heard:
    """The audio quality of one call, in seconds of call time."""

    first_audio_s: float | None = None
    """From the stream's start to the first audio; None when there was none."""
    answers_s: tuple[float, ...] = ()
    """For each answer: from the end of what the caller said to the first audio of it."""
    silences_s: tuple[float, ...] = ()
    """For each interruption: from the caller's first frame to the end of what the agent said."""
    jitter_s: float = 0.0
    """The highest value of the interarrival jitter."""
    longest_gap_s: float = 0.0
    """The longest wait between two pieces of audio of one turn."""
    underruns: int = 0
    """How often playback ran dry within a turn, for more than one frame."""
    dry_s: float = 0.0
    """How long playback was dry in all underruns together."""


class Meter:
    """Measures one call's audio while it arrives. `now` and `playing_until` are seconds of call time."""

    def __init__(self) -> None:
        self._first: float | None = None
        self._answers: list[float] = []
        self._silences: list[float] = []
        self._asked_at: float | None = None
        self._interrupted_at: float | None = None
        self._last_at = -1.0
        self._last_length = 0.0
        self._jitter = self._max_jitter = 0.0
        self._gap = 0.0
        self._underruns = 0
        self._dry = 0.0

    def speaks(self, now: float, playing_until: float) -> None:
        """The caller begins to speak; audio that would play until `playing_until` is interrupted."""
        if playing_until > now:
            self._interrupted_at = now

    def has_spoken(self, now: float) -> None:
        """The caller has finished speaking: the agent's answer is timed from here."""
        self._asked_at = now

    def audio(self, now: float, length: float, playing_until: float) -> None:
        """`length` seconds of audio arrive; `playing_until` is when the audio before it has played."""
        if self._first is None:
            self._first = now
        if self._interrupted_at is not None and now > playing_until:
            self.silent(playing_until)
        if self._asked_at is not None:
            self._answers.append(max(now, playing_until) - self._asked_at)
            self._asked_at = None
        elif self._last_at >= 0:
            waited, dry = now - self._last_at, now - playing_until
            if dry < _ONE_TURN_S:
                late = waited - self._last_length
                self._jitter += (abs(late) - self._jitter) / 16
                if self._jitter > self._max_jitter:
                    self._max_jitter = self._jitter
                if waited > self._gap:
                    self._gap = waited
                if dry > FRAME_S:
                    self._underruns += 1
                    self._dry += dry
        self._last_at, self._last_length = now, length

    def silent(self, when: float) -> None:
        """The agent's audio ended at `when`: it has played, or the server has cleared it."""
        if self._interrupted_at is not None:
            self._silences.append(max(0.0, when - self._interrupted_at))
            self._interrupted_at = None

    def heard(self) -> Heard:
        """The measurements so far."""
        return Heard(
            self._first,
            tuple(self._answers),
            tuple(self._silences),
            self._max_jitter,
            self._gap,
            self._underruns,
            self._dry,
        )
