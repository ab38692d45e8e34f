"""Keeps the calls as fast as the server can take, and no faster.

A caller sends 50 frames a call second whether the server keeps up or not; a server that falls behind is sent
silence meanwhile, and falls further behind. So the speed follows the server's own processor time.
"""

from __future__ import annotations

import asyncio
import contextlib

import psutil

from fakes.twilio.beat import Pace
from harness.sut import Sut

_EVERY_S = 0.1
_BUSY, _EASY = 0.85, 0.65
"""Share of one core that the busiest process of the server uses: above the first slower, below the second faster."""
_SLOWER, _FASTER = 0.75, 1.1


async def govern(pace: Pace, sut: Sut, *, most: float, least: float = 1.0) -> None:
    """Adjust `pace` between `least` and `most` until cancelled."""
    clock = asyncio.get_running_loop().time
    before, at = _cpu_seconds(sut), clock()
    while True:
        await asyncio.sleep(_EVERY_S)
        now, then = _cpu_seconds(sut), clock()
        used = max((now[pid] - before.get(pid, now[pid]) for pid in now), default=0.0) / max(then - at, 1e-3)
        before, at = now, then
        if used > _BUSY:
            pace.speed = max(least, pace.speed * _SLOWER)
        elif used < _EASY:
            pace.speed = min(most, pace.speed * _FASTER)


def _cpu_seconds(sut: Sut) -> dict[int, float]:
    used = {}
    for process in sut.family():
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            used[process.pid] = times.user + times.system
    return used
