"""One timer for many: what is due within the same two milliseconds, or one, is done together."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from functools import partial

GRID_S = 0.002

_EXACT = 1e-6
"""Of a grid's step: a time that lies on the grid but for rounding is on it."""


class Ticks:
    """Calls back, and wakes futures, at times of a grid; a time between two of its points is rounded up."""

    def __init__(self, grid_s: float = GRID_S) -> None:
        self._grid_s = grid_s
        self._due: dict[int, list[Callable[[], None]]] = {}

    def on_grid(self, when: float) -> float:
        """The first time of the grid that is not before `when`, in seconds of the loop's clock."""
        return self._tick(when) * self._grid_s

    def call_at(self, when: float, callback: Callable[[], None]) -> None:
        """Call `callback` at `when`, in seconds of the running loop's clock."""
        tick = self._tick(when)
        callbacks = self._due.get(tick)
        if callbacks is None:
            callbacks = self._due[tick] = []
            asyncio.get_running_loop().call_at(tick * self._grid_s, self._fire, tick)
        callbacks.append(callback)

    def wake(self, waiter: asyncio.Future[None], when: float) -> None:
        """Finish `waiter` at `when`, in seconds of its loop's clock, unless it is done by then."""
        self.call_at(when, partial(finish, waiter))

    def _tick(self, when: float) -> int:
        return math.ceil(when / self._grid_s - _EXACT)

    def _fire(self, tick: int) -> None:
        for callback in self._due.pop(tick):
            callback()


def finish(waiter: asyncio.Future[None]) -> None:
    """Wake who waits for `waiter`, once."""
    if not waiter.done():
        waiter.set_result(None)
