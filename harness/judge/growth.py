"""Decides whether a resource grows with the number of calls. Pure functions: samples in, growth out.

The slope is Theil and Sen's (the median of the slopes between all pairs of samples) with Sen's confidence
interval (Sen 1968, "Estimates of the regression coefficient based on Kendall's tau"), the trend test is Mann
and Kendall's with its correction for ties. Both look at ranks, so a single spike or step makes no trend.
A leak must be

1. a trend (p below `ALPHA`),
2. whose slope lies above the noise floor with its whole interval, and which adds up to `STANDS_OUT` times the
   samples' deviation from it,
3. and which goes on: the last two thirds have a trend of their own (p below `GOES_ON`); they, the second half and the
   last third grow at least half as fast as the whole.

Growth that fails only the third is warm-up, or a cache that fills.

A run is looked at up to three times, each time after as many calls again. The first look takes nothing for a leak
but a counter that lies on a line, and has grown by `SURE` or more. Before the last, nothing is called clean, or its
growth over, in whose interval half of `AIM` would hide. At the last, halves and thirds of a noisy run are still
noisy, and what was warm-up at the first look is long flat: there the third asks less of the last two thirds
(`GOES_ON_LAST`, `PART_LAST`), and that the last third does not deny it; or that they climb from sample to sample.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from leakline.harness.data.model import BYTES, RESOURCES, Growth, Resource, Sample
from leakline.harness.data.resources import rank
from leakline.harness.data.words import amount

MIN_SAMPLES = 8
"""Fewer samples cannot be significant at `ALPHA`, however steadily they rise."""

ALPHA = 0.001
"""Chance that noise alone passes the trend test, a resource and run."""

SUSPICION = 0.05
"""Chance up to which a trend is worth more calls: one sample out of line may hide a trend from the test."""

CONFIDENCE = 0.99
"""Of the interval of the slope."""

_Z_CONFIDENCE = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)

_A_HAIR = 1e-3
"""Things that a counter may be off a line on which it is said to lie: rounding alone."""

FIRST_LOOK, SECOND_LOOK, LAST_LOOK = 1, 2, 3

GOES_ON, GOES_ON_LAST = 0.01, 0.1
"""Chance that noise alone passes the trend test of the last two thirds; and that at the last look."""

PART, PART_LAST = 1 / 2, 1 / 3
"""How fast the last two thirds grow at least, as a part of the whole's growth; and that at the last look."""

STANDS_OUT, STANDS_OUT_EARLY = 3.3, 6.0
"""Growth in all, in standard deviations of the samples about the slope, from which it is told from noise; and that
while there is more to come."""

_STARTS = 2
"""Samples at the start that are not asked for that: often what the first batch leaves lies off any line."""

_NEIGHBOURS, _FAR = 2, 8.0
"""A sample that lies so many standard deviations (as the median deviation tells them) from the median of itself and
its neighbours on both sides stands alone, and is not asked for that either: a pool may have let its connections go
just then. Hampel's identifier (Davies and Gather 1993, "The identification of multiple outliers")."""

_MAD = 1 / NormalDist().inv_cdf(0.75)
"""Standard deviation of normal noise, in median absolute deviations."""

SURE = 8.0
"""Growth in all from which a counter on a line is a leak at the first look."""

_LONGER = (2, 3, 4, 6, 8, 12, 16)
"""How many times longer a run could be that would tell what this one could not."""

FLOOR = 0.05
"""Growth per call below which a count is still."""

FLOORS: Mapping[Resource, float] = {
    **dict.fromkeys(RESOURCES, FLOOR),
    "objects": 0.5,
    "heap": 64.0,
    "rss": 16.0 * 1024,
}
"""Growth per call below which a resource counts as still: things, or bytes for heap and rss."""

AIM: Mapping[Resource, float] = {
    **dict.fromkeys(RESOURCES, 2 * FLOOR),
    "objects": 8.0,
    "heap": 1024.0,
    "rss": 64.0 * 1024,
}
"""Growth per call that a run should not miss: it makes more calls while its noise could hide that."""

V8_WARM_UP_BYTES = 128.0 * 1024
"""What V8's heap may grow by in all, beside code: as it compiles a server it notes types and shapes."""


RSS_WARM_UP_BYTES = 2.0 * 1024 * 1024
"""What a process's rss may grow by in all: an allocator keeps the pages that a server's first calls have touched."""


def floors_for(languages: Collection[str], cycles: int) -> dict[Resource, float]:
    """FLOORS for a run of so many calls, of a server that has processes written in `languages`."""
    floors = dict(FLOORS)
    if cycles:
        floors["rss"] = max(floors["rss"], RSS_WARM_UP_BYTES / cycles)
    if "Node" in languages and cycles:
        floors["heap"] = max(floors["heap"], V8_WARM_UP_BYTES / cycles)
    return floors


Floats = NDArray[np.float64]


def judge(
    samples: Sequence[Sample],
    floors: Mapping[Resource, float] = FLOORS,
    *,
    look: int = SECOND_LOOK,
    more_to_come: bool = False,
) -> tuple[Growth, ...]:
    """The growth of every resource that all `samples` have, in the order of RESOURCES, gauges last.

    `look` says which look at the run this is; the second is right for a run that is looked at once. With
    `more_to_come`, what more calls could show is inconclusive, not clean.
    """
    cycles = np.array([s.cycles for s in samples], dtype=np.float64)
    growths = []
    for resource in sorted({name for s in samples for name in s.values}, key=lambda name: (rank(name), name)):
        if all(resource in s.values for s in samples):
            values = np.array([s.values[resource] for s in samples], dtype=np.float64)
            floor = floors.get(resource, FLOOR)
            found = growth(resource, cycles, values, floor, look=look, more_to_come=more_to_come)
            if found.state == "inconclusive" and not more_to_come:
                enough = calls_to_tell(resource, cycles, values, floor)
                found = replace(found, note=f"{found.note}; some {enough:,} calls would tell") if enough else found
            growths.append(found)
    return tuple(growths)


def calls_to_tell(resource: Resource, cycles: Floats, values: Floats, floor: float) -> int | None:
    """After how many calls the growth could be told, if it went on as it was: None where a longer run would not do.

    The same samples of as many times longer a run: what grows goes on to grow, and what the samples were off it stays
    as it was, so that it weighs less.
    """
    if len(values) < MIN_SAMPLES:
        return None
    calls = cycles - cycles[0]
    slope, _, _ = theil_sen(calls, values)
    for times in _LONGER:
        longer = values + (times - 1) * max(0.0, slope) * calls
        if growth(resource, times * calls, longer, floor).state != "inconclusive":
            return int(times * calls[-1])
    return None


def growth(
    resource: Resource,
    cycles: Floats,
    values: Floats,
    floor: float,
    *,
    look: int = SECOND_LOOK,
    more_to_come: bool = False,
) -> Growth:
    """Judge one resource: `values` at quiet points after `cycles` calls."""
    number = len(values)
    calls = int(cycles[-1] - cycles[0]) if number else 0
    slope, low, high = theil_sen(cycles, values)

    def result(state: str, note: str = "") -> Growth:
        on_line = values[0] + slope * (cycles - cycles[0]) if number else values
        exact = number > 2 and resource not in BYTES and bool(np.allclose(values, on_line, rtol=0.0, atol=_A_HAIR))
        return Growth(resource, state, slope, low, high, exact, calls, number, note)  # type: ignore[arg-type]

    if number < MIN_SAMPLES:
        return result("inconclusive", f"{number} samples; a verdict needs {MIN_SAMPLES}")
    chance = mann_kendall(values)
    if slope > floor and ALPHA < chance <= SUSPICION and more_to_come:
        return result("inconclusive", "it may grow, and more calls are needed to tell from noise")
    aim = max(AIM.get(resource, 2 * FLOOR), 2 * floor)
    if slope <= floor or chance > ALPHA:
        if high <= aim / 2:
            return result("clean")
        if more_to_come:
            return result("inconclusive", "its noise could hide a leak, and more calls are needed to tell")
        return result("inconclusive", f"too noisy to see a leak of less than {amount(resource, high)} a call")
    # A cache that has filled, or a swing that has turned, is flat at the end, however steep the whole is.
    late_slope, _, late_high = theil_sen(cycles[number // 2 :], values[number // 2 :])
    if _goes_on(cycles, values, slope, late_slope, floor, is_last=look == LAST_LOOK):
        spread = _spread(values - slope * cycles)
        least = (STANDS_OUT_EARLY if more_to_come else STANDS_OUT) * spread
        if low <= floor or slope * calls < least:
            return result("inconclusive", "it grows, and more calls are needed to tell from noise")
        found = result("leaking")
        if look > FIRST_LOOK or (found.exact and slope * calls >= SURE):
            return found
        return result("inconclusive", "it grows, though not evenly: as many calls again will tell if that goes on")
    if more_to_come and late_high > aim / 2:
        return result("inconclusive", "its growth may have stopped, and more calls are needed to tell")
    if late_slope <= floor or late_high <= slope / 2:
        return result("clean", "grew at first, then stopped: warm-up")
    return result("inconclusive", "its growth fades, and it is not sure that it stops")


def _goes_on(cycles: Floats, values: Floats, slope: float, late_slope: float, floor: float, *, is_last: bool) -> bool:
    """Whether the last two thirds grow too, and neither the second half (`late_slope`) nor the last third deny it."""
    number = len(values)
    later, last = slice(number // 3, None), slice(-max(3, number // 3), None)
    part, chance = (PART_LAST, GOES_ON_LAST) if is_last else (PART, GOES_ON)
    if theil_sen(cycles[later], values[later])[0] < max(floor, part * slope) or mann_kendall(values[later]) >= chance:
        return is_last and _climbs(cycles[later], values[later], max(floor, PART * slope))
    last_slope, _, last_high = theil_sen(cycles[last], values[last])
    if is_last:
        return last_high >= PART * slope
    return min(late_slope, last_slope) >= PART * slope


def _climbs(cycles: Floats, values: Floats, least: float) -> bool:
    """Whether nearly every sample lies above the one before it, as a rule by `least` a call or more.

    An allocator that gives back two steps takes the trend from a leak, which climbs on all the same. It is the sign
    test, of the changes from sample to sample.
    """
    rises = np.diff(values) / np.diff(cycles)
    ups, number = int((rises > 0).sum()), int((rises != 0).sum())
    chance = sum(math.comb(number, k) for k in range(ups, number + 1)) / 2**number
    return chance < ALPHA and float(np.median(rises)) >= least


def _spread(residuals: Floats) -> float:
    """Their standard deviation, without the start and without what stands alone."""
    asked = residuals[_STARTS:]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(asked, _NEIGHBOURS, "edge"), 2 * _NEIGHBOURS + 1)
    off = np.abs(asked - np.median(windows, axis=1))
    return float(np.std(asked[off <= _FAR * _MAD * np.median(off)]))


def theil_sen(x: Floats, y: Floats) -> tuple[float, float, float]:
    """(slope, low, high): the median slope between all pairs, and Sen's interval at CONFIDENCE."""
    i, j = np.triu_indices(len(x), k=1)
    dx = x[j] - x[i]
    slopes = np.sort((y[j] - y[i])[dx > 0] / dx[dx > 0])
    if not len(slopes):
        return 0.0, -math.inf, math.inf
    reach = _Z_CONFIDENCE * math.sqrt(_kendall_variance(y))
    first = max(0, math.floor((len(slopes) - reach) / 2))
    last = min(len(slopes) - 1, math.ceil((len(slopes) + reach) / 2))
    return float(np.median(slopes)), float(slopes[first]), float(slopes[last])


def mann_kendall(y: Floats) -> float:
    """One-sided p-value of an upward trend in `y`."""
    variance = _kendall_variance(y)
    if variance <= 0:
        return 1.0
    i, j = np.triu_indices(len(y), k=1)
    score = float(np.sign(y[j] - y[i]).sum())
    z = (score - np.sign(score)) / math.sqrt(variance)
    return 0.5 * math.erfc(z / math.sqrt(2))


def _kendall_variance(y: Floats) -> float:
    """Variance of Kendall's score of len(y) values in random order, corrected for ties."""
    number = len(y)
    _, ties = np.unique(y, return_counts=True)
    tied = float((ties * (ties - 1) * (2 * ties + 5)).sum())
    return (number * (number - 1) * (2 * number + 5) - tied) / 18
