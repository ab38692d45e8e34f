"""Retries with exponential back-off."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def with_retry(
    work: Callable[[], Awaitable[T]],
    *,
    on: tuple[type[Exception], ...],
    times: int = 3,
    first_wait_s: float = 0.1,
) -> T:
    """The result of `work`, called up to `times` times; the wait doubles. Raises the last error."""
    wait_s = first_wait_s
    for _ in range(times - 1):
        try:
            return await work()
        except on:
            await asyncio.sleep(wait_s)
            wait_s *= 2
    return await work()
