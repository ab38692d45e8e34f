"""`no_growth`: the check of a soak for any coroutine, in a test's own process."""

from __future__ import annotations

from leakline.harness.run.in_process import NoGrowth
from leakline.reports.text import in_full


def no_growth(cycles: int = 96, *, warmup: int = 16) -> NoGrowth:
    """For any coroutine, in the test's own process: fails when what the loop's body leaves behind grows.

    `async with no_growth(cycles=200) as each: async for _ in each: await work()`. Raises UsageError for a number of
    cycles that is too small to judge.
    """
    return NoGrowth(cycles, warmup=warmup, wording=in_full)
