"""The one wait for what goes away by itself: reads the counters until a cool-down is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from leakline.harness.data.model import Resource
from leakline.harness.judge.cool_down import CoolDown

_POLL_S = 0.25

Read = Callable[[], Awaitable[Mapping[Resource, float]]]
"""Reads the counters."""


async def until_over(
    cool_down: CoolDown, read: Read, first: Mapping[Resource, float] | None = None
) -> Mapping[Resource, float]:
    """Read the counters until the cool-down is over: what they are then. `first` is a reading that was just taken."""
    values = first if first is not None else await read()
    while True:
        cool_down.observe(time.monotonic(), values)
        if cool_down.is_over(time.monotonic()):
            return values
        await asyncio.sleep(_POLL_S)
        values = await read()


async def until_no_more_than(
    most: Mapping[Resource, float], read: Read, *, length_s: float
) -> Mapping[Resource, float]:
    """Wait until there is no more of each resource than `most`, of those that `read` tells of; `length_s` at most.

    The counters as they are then.
    """
    first = await read()
    known = {resource: number for resource, number in most.items() if resource in first}
    return await until_over(CoolDown(known, now=time.monotonic(), length_s=length_s), read, first)
