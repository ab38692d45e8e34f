"""Keeps the calls as fast as the server can take, and no faster.

A caller sends 50 frames a call second whether the server keeps up or not; a server that falls behind is sent
silence meanwhile, and falls further behind. So the speed follows the server's own processor time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import psutil

from leakline.fakes.twilio.beat import Pace
from leakline.harness.server.process import Sut

_EVERY_S = 0.1
_BUSY, _EASY = 0.85, 0.65
"""Share of one core that the busiest process of the server uses: above the first slower, below the second faster."""
_SLOWER, _FASTER = 0.75, 1.1
_IDLE, _IDLES = 0.1, 2
"""Share of one core up to which a process is idle; for so many looks."""
_IDLE_LIMIT_S = 5.0


async def govern(pace: Pace, sut: Sut, *, most: Callable[[], float], least: float = 1.0) -> None:
    """Adjust `pace` between `least` and `most`, which may change, until cancelled."""
    clock = asyncio.get_running_loop().time
    before, at = _cpu_seconds(sut), clock()
    while True:
        await asyncio.sleep(_EVERY_S)
        now, then = _cpu_seconds(sut), clock()
        used = _busiest(before, now) / max(then - at, 1e-3)
        before, at = now, then
        if used > _BUSY:
            pace.speed = max(least, pace.speed * _SLOWER)
        elif used < _EASY:
            pace.speed = min(most(), pace.speed * _FASTER)


async def idle(sut: Sut) -> None:
    """Wait until each process of the server is idle, which one with a busy thread of its own need never be.

    The calls may have been answered by the first of several workers, while another still starts.
    """
    clock = asyncio.get_running_loop().time
    until, calm = clock() + _IDLE_LIMIT_S, 0
    before, at = _cpu_seconds(sut), clock()
    while calm < _IDLES and clock() < until:
        await asyncio.sleep(_EVERY_S)
        now, then = _cpu_seconds(sut), clock()
        calm = calm + 1 if _busiest(before, now) <= _IDLE * (then - at) else 0
        before, at = now, then


def _busiest(before: dict[int, float], now: dict[int, float]) -> float:
    """Processor seconds that the process used which used the most of those that ran at both times."""
    return max((seconds - before[pid] for pid, seconds in now.items() if pid in before), default=0.0)


def _cpu_seconds(sut: Sut) -> dict[int, float]:
    used = {}
    for process in sut.family():
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            used[process.pid] = times.user + times.system
    return used
