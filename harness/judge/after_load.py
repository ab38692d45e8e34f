"""Whether a server released what it used in a load: compares a quiet point before the load with one after it.

Two quiet points cannot tell a leak from what a server retains for its peak concurrency (pooled connections, an
allocator's pages). So what is left is first compared with what a server may retain for so many concurrent calls.
Where that does not decide, the trend while the number of callers was constant does: a pool is flat there, a leak is
not.
Pure functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from leakline.harness.data.model import RESOURCES, Growth, Resource, Sample
from leakline.harness.data.resources import rank
from leakline.harness.data.words import amount
from leakline.harness.judge.growth import FLOOR, MIN_SAMPLES
from leakline.harness.judge.growth import judge as judge_trend

_RETAINED_PER_CONCURRENT_CALL: Mapping[Resource, float] = {
    **dict.fromkeys(RESOURCES, 2.0),
    "objects": 400.0,
    "heap": 64.0 * 1024,
    "rss": 256.0 * 1024,
}
"""What a server may retain for each call of its peak concurrency, in things, or bytes for heap and rss."""

_RETAINED_AT_ANY_LOAD: Mapping[Resource, float] = {"objects": 2000.0, "heap": 512.0 * 1024, "rss": 8.0 * 1024 * 1024}
"""What it may retain besides, whatever the concurrency, in the same units: code and caches that were first used in
the load."""

_FLAT = 0.2
"""Fraction of the growth per call between the quiet points: a slope with constant callers that is certainly less is
none."""


@dataclass(frozen=True, slots=True)
class Load:
    """The load on the server."""

    calls: int
    peak_concurrency: int
    """The most calls that ran at once."""


def judge(
    before: Sample, after: Sample, during: Sequence[Sample], load: Load, floors: Mapping[Resource, float]
) -> tuple[Growth, ...]:
    """The growth per call of each resource that was counted both `before` and `after` the load, at quiet points.

    `during` are readings while calls ran and the number of callers was constant. `floors` are noise floors in growth
    per call, as in `growth.FLOORS`.
    """
    names = sorted(before.values.keys() & after.values.keys(), key=lambda name: (rank(name), name))
    found = {name: _judge(name, before, after, during, load, floors.get(name, FLOOR)) for name in names}
    if "heap" in found and "rss" in found and found["heap"].state == "clean" and found["rss"].state == "inconclusive":
        note = f"{found['rss'].note.partition(',')[0]}; the heap was released: its allocator keeps the pages"
        found["rss"] = replace(found["rss"], state="clean", note=note)
    return tuple(found.values())


def _judge(
    resource: Resource, before: Sample, after: Sample, during: Sequence[Sample], load: Load, floor: float
) -> Growth:
    left = after.values[resource] - before.values[resource]
    calls = max(1, load.calls)
    at_any_load = _RETAINED_AT_ANY_LOAD.get(resource, 0.0)
    allowance = _RETAINED_PER_CONCURRENT_CALL.get(resource, 2.0) * load.peak_concurrency + at_any_load
    per_call = left / calls
    found = Growth(resource, "clean", per_call, (left - allowance) / calls, per_call, False, load.calls, 2)
    if per_call <= floor or left <= at_any_load:
        return found
    readings = [s for s in during if resource in s.values]
    trend = judge_trend([replace(s, values={resource: s.values[resource]}) for s in readings], {resource: floor})
    steady = trend[0] if trend and len(readings) >= MIN_SAMPLES else None
    total = f"{amount(resource, left, sign=True)} is left in total"
    if steady is not None and steady.high < _FLAT * per_call:
        return replace(
            found,
            note=f"{total}; it came with the first calls and stood still at {load.peak_concurrency} concurrent calls",
        )
    if found.low > floor:
        return replace(found, state="leaking", note=total)
    # A trend of rss is not enough: a busy second takes pages that an allocator keeps.
    if steady is not None and steady.state == "leaking" and resource != "rss":
        return replace(found, state="leaking", low=steady.low, note=f"{total}, and it rose with every call")
    return replace(
        found,
        state="inconclusive",
        note=f"{total}, which may be retained for {load.peak_concurrency} concurrent calls; a longer run would tell",
    )
