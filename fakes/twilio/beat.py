"""The 20 ms beat of many calls: one timer for all that are due in the same millisecond."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Protocol

from leakline.fakes.audio import FRAME_S
from leakline.fakes.twilio.alarm import Alarm
from leakline.fakes.twilio.lateness import Lateness

_PHASES = 50
_STRIDE = 7
"""Calls that begin one after the other lie far apart in the frame: it has no factor in common with the phases."""
_GRID_S = 0.001
_MOST_LATE_FRAMES = 5


class Beating(Protocol):
    """What has a beat."""

    def beat(self, now: float) -> None:
        """A frame is due; `now` is the time on the loop's clock."""


class Pace:
    """How fast calls are played, which may be changed while they are; and the beat that they share.

    A late beat is followed by the next at once, up to five of them; what is later than that is left out, so that a
    machine which cannot keep up slows its calls down.
    """

    def __init__(self, speed: float = 1.0) -> None:
        self.speed = speed
        """Call seconds per second."""
        self.lateness = Lateness()
        """How late frames were, in real seconds."""
        self._phases: list[_Phase | None] = [None] * _PHASES
        self._phase_of: dict[Beating, _Phase] = {}
        self._alarm: Alarm | None = None
        self._joined = 0

    @property
    def frame_s(self) -> float:
        """Real seconds between two beats."""
        return FRAME_S / self.speed

    def join(self, member: Beating) -> None:
        """Give `member` its beat from now on."""
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

    def leave(self, member: Beating) -> None:
        """Stop its beat; one that has none is left alone."""
        phase = self._phase_of.pop(member, None)
        if phase is not None:
            phase.members.pop(member, None)


class _Phase:
    """Those that beat together."""

    def __init__(self, pace: Pace, share: float, alarm: Alarm) -> None:
        self.members: dict[Beating, None] = {}
        self._pace = pace
        self._alarm = alarm
        frame_s = pace.frame_s
        # All phases lie on one clock, whenever they began.
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
