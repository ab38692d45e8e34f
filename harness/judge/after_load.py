"""Whether memory came back after a load: what is left when all is quiet again, held against what a server may keep.

Two quiet points cannot tell a leak from what a server keeps for the most calls that it had at once (pooled
connections, an allocator's pages). So what is left is held against that number of calls first, and where that does
not decide, against the trend while the number of callers stood still: a pool is flat there, a leak is not.
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

KEPT: Mapping[Resource, float] = {
    **dict.fromkeys(RESOURCES, 2.0),
    "objects": 400.0,
    "heap": 64.0 * 1024,
    "rss": 256.0 * 1024,
}
"""What a server may keep for each call that it had at once: things, or bytes for heap and rss."""

_KEPT_ANYHOW: Mapping[Resource, float] = {"objects": 2000.0, "heap": 512.0 * 1024, "rss": 8.0 * 1024 * 1024}
"""What it may keep however few they were: code and caches that a load is the first to use."""

_FLAT = 0.2
"""Of the growth in all: a trend below it is none."""


@dataclass(frozen=True, slots=True)
class Load:
    """What was put on the server."""

    calls: int
    most_at_once: int
    """Calls."""


def judge(
    before: Sample, after: Sample, during: Sequence[Sample], load: Load, floors: Mapping[Resource, float]
) -> tuple[Growth, ...]:
    """The growth a call of each resource that was counted before and after.

    `during` are readings while the number of callers stood still, with calls going on.
    """
    names = sorted(before.values.keys() & after.values.keys(), key=lambda name: (rank(name), name))
    found = {name: _judge(name, before, after, during, load, floors.get(name, FLOOR)) for name in names}
    if "heap" in found and "rss" in found and found["heap"].state == "clean" and found["rss"].state == "inconclusive":
        note = f"{found['rss'].note.partition(',')[0]}; what is in use came back: its allocator keeps the pages"
        found["rss"] = replace(found["rss"], state="clean", note=note)
    return tuple(found.values())


def _judge(
    resource: Resource, before: Sample, after: Sample, during: Sequence[Sample], load: Load, floor: float
) -> Growth:
    left = after.values[resource] - before.values[resource]
    calls = max(1, load.calls)
    anyhow = _KEPT_ANYHOW.get(resource, 0.0)
    kept = KEPT.get(resource, 2.0) * load.most_at_once + anyhow
    per_call = left / calls
    found = Growth(resource, "clean", per_call, (left - kept) / calls, per_call, False, load.calls, 2)
    if per_call <= floor or left <= anyhow:
        return found
    readings = [s for s in during if resource in s.values]
    trend = judge_trend([replace(s, values={resource: s.values[resource]}) for s in readings], {resource: floor})
    rising = trend[0] if trend and len(readings) >= MIN_SAMPLES else None
    words = f"{amount(resource, left, sign=True)} is left in all"
    if rising is not None and rising.high < _FLAT * per_call:
        return replace(
            found,
            note=f"{words}; it came with the first calls and stood still at {load.most_at_once} calls at once",
        )
    if found.low > floor:
        return replace(found, state="leaking", note=words)
    if rising is not None and rising.state == "leaking" and resource != "rss":  # pages come with a busy second
        return replace(found, state="leaking", low=rising.low, note=f"{words}, and it rose with every call")
    return replace(
        found,
        state="inconclusive",
        note=f"{words}, which may be kept for {load.most_at_once} calls at once; a longer run would tell",
    )
