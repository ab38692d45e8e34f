"""Keeps the calls as fast as the server can take, and no faster.

A caller sends 50 frames per call second whether the server keeps up or not; one that falls behind only falls further
behind. So the calls' speed is controlled by the processor time that the server uses.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import psutil

from leakline.fakes.twilio.beat import Pace
from leakline.harness.server.process import Sut

_EVERY_S = 0.1
"""Real seconds between two readings of the processor time."""
_BUSY, _EASY = 0.85, 0.65
"""Share of a core that the server's busiest process uses: above _BUSY calls slow down, below _EASY they speed up."""
_SLOWER, _FASTER = 0.75, 1.1
"""What the speed is multiplied by at one reading: down fast and up slowly, so that it does not oscillate."""
_IDLE, _IDLE_READINGS = 0.1, 2
"""Share of one core up to which a process counts as idle, and in how many readings in a row it must be."""
_IDLE_LIMIT_S = 5.0
"""Longest wait for an idle server, in real seconds."""


async def govern(pace: Pace, sut: Sut, *, top_speed: Callable[[], float], min_speed: float = 1.0) -> None:
    """Adjust `pace` until cancelled: between `min_speed` and `top_speed()`, in call seconds per real second."""
    clock = asyncio.get_running_loop().time
    before, at = _cpu_seconds(sut), clock()
    while True:
        await asyncio.sleep(_EVERY_S)
        now, then = _cpu_seconds(sut), clock()
        used = _busiest(before, now) / max(then - at, 1e-3)
        before, at = now, then
        if used > _BUSY:
            pace.speed = max(min_speed, pace.speed * _SLOWER)
        elif used < _EASY:
            pace.speed = min(top_speed(), pace.speed * _FASTER)


async def until_idle(sut: Sut) -> None:
    """Wait until every process of the server is idle, five seconds at most: one may be busy for ever by itself.

    The warm-up's calls may have been answered by the first of several workers while another was still starting.
    """
    clock = asyncio.get_running_loop().time
    until, calm = clock() + _IDLE_LIMIT_S, 0
    before, at = _cpu_seconds(sut), clock()
    while calm < _IDLE_READINGS and clock() < until:
        await asyncio.sleep(_EVERY_S)
        now, then = _cpu_seconds(sut), clock()
        calm = calm + 1 if _busiest(before, now) <= _IDLE * (then - at) else 0
        before, at = now, then


def _busiest(before: dict[int, float], now: dict[int, float]) -> float:
    """Processor seconds that the busiest process used between two readings ({pid: seconds}); 0 without any."""
    return max((seconds - before[pid] for pid, seconds in now.items() if pid in before), default=0.0)


def _cpu_seconds(sut: Sut) -> dict[int, float]:
    """{pid: processor seconds used since its start} of the server's processes."""
    used = {}
    for process in sut.family():
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            used[process.pid] = times.user + times.system
    return used
