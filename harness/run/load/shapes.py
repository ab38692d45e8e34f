"""How many callers there are at a time of a load run: pure functions of the time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

Shape = Callable[[float, int, float], int]
"""Callers at a time: (seconds since the start, most callers, seconds of the run) -> number."""

_STEPS = 5
_RAMP = 0.1
_STORM_S = 15.0
_STORM_PAUSE_S = 1.0


def steady(now: float, users: int, run_s: float) -> int:
    """A ramp of a tenth of the run, then all of them."""
    return math.ceil(users * min(1.0, now / max(1e-9, _RAMP * run_s)))


def steps(now: float, users: int, run_s: float) -> int:
    """Five steps of the same length, each a fifth more."""
    return math.ceil(users * min(_STEPS, math.floor(_STEPS * now / run_s) + 1) / _STEPS)


def spike(now: float, users: int, run_s: float) -> int:
    """A tenth of them, and all for the middle fifth of the run."""
    return users if 0.4 <= now / run_s < 0.6 else math.ceil(users / 10)


def soak(now: float, users: int, run_s: float) -> int:
    """A ramp up for a tenth of the run, a ramp down for its last tenth."""
    return math.ceil(users * max(0.0, min(1.0, now / (_RAMP * run_s), (run_s - now) / (_RAMP * run_s))))


def reconnect_storm(now: float, users: int, _run_s: float) -> int:
    """All at once; every 15 seconds all of them go, and come back together a second later."""
    return 0 if now >= _STORM_S and now % _STORM_S < _STORM_PAUSE_S else users


def thundering_herd(_now: float, users: int, _run_s: float) -> int:
    """All at once."""
    return users


SHAPES: Mapping[str, Shape] = MappingProxyType(
    {each.__name__: each for each in (steady, steps, spike, soak, reconnect_storm, thundering_herd)}
)
"""The shapes by name."""
