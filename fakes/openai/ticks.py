"""One timer for many sessions: those that are due within the same two milliseconds are woken together."""

from __future__ import annotations

import asyncio

GRID_S = 0.002
"""Distance of two wake-up times, in real seconds."""


class Ticks:
    """Wakes futures at multiples of `grid_s` seconds; other times are rounded up."""

    def __init__(self, grid_s: float = GRID_S) -> None:
        self._grid_s = grid_s
        self._waiting: dict[int, list[asyncio.Future[None]]] = {}

    def wake(self, waiter: asyncio.Future[None], when: float) -> None:
        """Finish `waiter` at `when`, in seconds of its event loop's clock, unless it is done by then."""
        tick = int(when / self._grid_s) + 1
        waiters = self._waiting.get(tick)
        if waiters is None:
            waiters = self._waiting[tick] = []
            waiter.get_loop().call_at(tick * self._grid_s, self._fire, tick)
        waiters.append(waiter)

    def _fire(self, tick: int) -> None:
        for waiter in self._waiting.pop(tick):
            finish(waiter)


def finish(waiter: asyncio.Future[None]) -> None:
    """Finish `waiter` unless it is done."""
    if not waiter.done():
        waiter.set_result(None)
