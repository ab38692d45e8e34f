"""A limit on how long an operation may take."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

T = TypeVar("T")


async def with_timeout(work: Coroutine[object, object, T], limit_s: float, *, leak_timer: bool = False) -> T:
    """The result of `work`, or TimeoutError after `limit_s` seconds.

    With `leak_timer` it has the leak `timeout_timers`: the timer is not cancelled when the work finishes first.
    """
    task = asyncio.ensure_future(work)
    timed_out = False

    def give_up() -> None:
        nonlocal timed_out
        if not task.done():
            timed_out = True
            task.cancel()

    timer = asyncio.get_running_loop().call_later(limit_s, give_up)
    try:
        return await task
    except asyncio.CancelledError:
        if timed_out:
            raise TimeoutError(f"no answer in {limit_s:g} s") from None
        task.cancel()
        raise
    finally:
        if not leak_timer:
            timer.cancel()  # the good way; without it, each call's timer retains what the call held
