"""A periodic timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Interval:
    """Calls `work` every `period_s` seconds, from the event loop that runs when it is made."""

    def __init__(self, period_s: float, work: Callable[[], None]) -> None:
        self._period_s = period_s
        self._work = work
        self._timer = self._next()

    def stop(self) -> None:
        """Stop the timer."""
        self._timer.cancel()

    def _next(self) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(self._period_s, self._tick)

    def _tick(self) -> None:
        self._timer = self._next()
        self._work()
