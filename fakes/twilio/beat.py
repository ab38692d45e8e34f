"""The 20 ms beat of many calls, with one timer for all frames that are due in the same millisecond."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Protocol

from leakline.fakes.audio import FRAME_S
from leakline.fakes.twilio.alarm import Alarm
from leakline.fakes.twilio.lateness import Lateness

_PHASES = 50
"""Moments within a frame at which calls beat: they spread the load over its 20 ms."""
_STRIDE = 7
"""Phases between one call and the next, so that consecutive calls are far apart; coprime with _PHASES, to use all."""
_GRID_S = 0.001
"""Beats are due at multiples of this, in real seconds."""
_MOST_LATE_FRAMES = 5
"""Frames that are sent late; those that are later still are skipped."""


class BeatMember(Protocol):
    """A call that sends a frame at each beat."""

    def beat(self, now: float) -> None:
        """A frame is due; `now` is seconds of the monotonic clock."""


class Pace:
    """How fast calls are played, which may change during the calls, and the beat that they share.

    Late beats are made up for at once, up to five of them. Later ones are skipped, so that calls slow down on a
    machine that cannot keep up.
    """

    def __init__(self, speed: float = 1.0) -> None:
        self.speed = speed
        """Call seconds per real second."""
        self.lateness = Lateness()
        """How late frames were, in real seconds."""
        self._phases: list[_Phase | None] = [None] * _PHASES
        self._phase_of: dict[BeatMember, _Phase] = {}
        self._alarm: Alarm | None = None
        self._joined = 0

    @property
    def frame_s(self) -> float:
        """Real seconds between two beats."""
        return FRAME_S / self.speed

    def join(self, member: BeatMember) -> None:
        """Call `member.beat` at each beat from now on."""
        self._joined += 1
        number = self._joined * _STRIDE % _PHASES
        phase = self._phases[number]
        if phase is None or not phase.members:
            phase = self._phases[number] = _Phase(self, number / _PHASES, self._alarm_here())
        phase.members[member] = None
        self._phase_of[member] = phase

    def _alarm_here(self) -> Alarm:
        if self._alarm is None or self._alarm.loop is not asyncio.get_running_loop():
            self._alarm = Alarm()
        return self._alarm

    def leave(self, member: BeatMember) -> None:
        """Stop its beats; does nothing for one that has none."""
        phase = self._phase_of.pop(member, None)
        if phase is not None:
            phase.members.pop(member, None)


class _Phase:
    """The calls that beat at the same moment of a frame."""

    def __init__(self, pace: Pace, share: float, alarm: Alarm) -> None:
        self.members: dict[BeatMember, None] = {}
        self._pace = pace
        self._alarm = alarm
        frame_s = pace.frame_s
        # Aligned to the clock, not to the first call: the phases keep their distance whenever they begin.
        start = (math.floor(time.monotonic() / frame_s - share) + 1 + share) * frame_s
        self._due = math.ceil(start / _GRID_S - 1e-6) * _GRID_S
        self._alarm.at(self._due, self._fire)

    def _fire(self) -> None:
        due = self._due
        add = self._pace.lateness.add
        monotonic = time.monotonic
        for member in tuple(self.members):
            now = monotonic()
            add(now - due)
            member.beat(now)
        if self.members:
            frame_s = self._pace.frame_s
            self._due = max(due + frame_s, monotonic() - _MOST_LATE_FRAMES * frame_s)
            self._alarm.at(self._due, self._fire)
