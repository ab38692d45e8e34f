"""Decides whether a resource grows with the number of calls. Pure functions: samples in, growth out.

The slope is Theil and Sen's (the median of the slopes between all pairs of samples) with Sen's confidence interval
(Sen 1968, "Estimates of the regression coefficient based on Kendall's tau"); the trend test is Mann and Kendall's,
corrected for ties. Both use ranks or medians, so that a single spike or step makes no trend. A leak has

1. a trend: its p-value is at most `ALPHA`;
2. a minimum effect: the whole confidence interval of the slope lies above the noise floor, and the growth over all
   calls is at least `MIN_EFFECT` standard deviations of the samples about the fitted line;
3. persistence: the last two thirds of the samples have a trend of their own (`PERSISTENCE_ALPHA`), and their slope,
   that of the second half and that of the last third are at least `MIN_LATE_SLOPE` of the whole slope.

Growth that lacks only persistence is warm-up, or a cache that has filled.

A run is analysed up to three times: two interim analyses and a final one, each after as many calls again. The first
accepts as a leak only a linear integer counter that has grown by `MIN_EXACT_GROWTH` or more. Before the final one, a
resource is not called clean while its confidence interval reaches half of its detection target; in the final, while
it reaches the whole. There, warm-up is long over, but the halves and thirds of a noisy run are still noisy. So
persistence needs less: a weaker trend and slope of the last two thirds (`PERSISTENCE_ALPHA_FINAL`,
`MIN_LATE_SLOPE_FINAL`) and an interval of the last third that allows half of the whole slope; or last two thirds that
rise from sample to sample.
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
"""Significance level of the trend test: the probability that noise alone passes it, for one resource in one run."""

SUSPECT_P_VALUE = 0.05
"""Up to this p-value a trend that is not significant is worth more calls: one outlier may have hidden it."""

CONFIDENCE = 0.99
"""Confidence level of the slope's interval."""

_Z_CONFIDENCE = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)

_LINEARITY_TOLERANCE = 1e-3
"""How far from the fitted line, in units of the counter, a sample of an exact growth may lie: rounding alone."""

FIRST_ANALYSIS, SECOND_ANALYSIS, FINAL_ANALYSIS = 1, 2, 3
"""The analyses of a run, in order; the first two are interim analyses."""

PERSISTENCE_ALPHA, PERSISTENCE_ALPHA_FINAL = 0.01, 0.1
"""Significance level of the trend test of the last two thirds of the samples; and that in the final analysis."""

MIN_LATE_SLOPE, MIN_LATE_SLOPE_FINAL = 1 / 2, 1 / 3
"""Least slope of the late samples, as a fraction of the whole slope; and that of the last two thirds in the final
analysis."""

MIN_EFFECT, MIN_EFFECT_INTERIM = 3.3, 6.0
"""Least growth over all calls, in standard deviations of the samples about the fitted line; and that while more calls
may follow. Below it growth cannot be told from noise."""

_START_SAMPLES = 2
"""Samples at the start that do not count in that standard deviation: the first batch often leaves values that lie off
the line on which all others are."""

_HAMPEL_NEIGHBOURS, _HAMPEL_THRESHOLD = 2, 8.0
"""An outlier is a sample further than this threshold, in robust standard deviations, from the median of itself and so
many neighbours on each side; it does not count in that standard deviation either. One example is a sample before
which a connection pool had closed its idle connections. Hampel's identifier (Davies and Gather 1993, "The
identification of multiple outliers")."""

_STANDARD_DEVIATIONS_PER_MAD = 1 / NormalDist().inv_cdf(0.75)
"""Standard deviation of normal noise, in median absolute deviations: 1.4826."""

MIN_EXACT_GROWTH = 8.0
"""Growth over all calls, in units of the counter, from which an exact growth is a leak in the first analysis. Less
may be a cache that fills."""

_RUN_MULTIPLES = (2, 3, 4, 6, 8, 12, 16)
"""Lengths of a longer run that `calls_needed` tries, in lengths of this one."""

FLOOR = 0.05
"""Noise floor of a counter: a growth per call that is no more is none. One in 20 calls."""

FLOORS: Mapping[Resource, float] = {
    **dict.fromkeys(RESOURCES, FLOOR),
    "objects": 0.5,
    "heap": 64.0,
    "rss": 16.0 * 1024,
}
"""Noise floor of each resource, in growth per call: things, or bytes for heap and rss."""

DETECTION_TARGETS: Mapping[Resource, float] = {
    **dict.fromkeys(RESOURCES, 2 * FLOOR),
    "objects": 8.0,
    "heap": 1024.0,
    "rss": 64.0 * 1024,
}
"""Growth per call that a run should not miss, in things or bytes: more calls are made while noise could hide half of
it."""

V8_WARM_UP_BYTES = 128.0 * 1024
"""Growth of V8's heap over a whole run that is no leak: what V8 notes of types and shapes as it compiles."""

RSS_WARM_UP_BYTES = 2.0 * 1024 * 1024
"""Growth of a process's rss over a whole run that is no leak: pages that its allocator has touched once and keeps."""


def floors_for(languages: Collection[str], cycles: int) -> dict[Resource, float]:
    """The noise floors of a run of `cycles` calls to a server that has processes written in `languages`.

    They are FLOORS, but for rss and for the heap of Node, whose warm-up over the whole run counts too.
    """
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
    analysis: int = SECOND_ANALYSIS,
    more_to_come: bool = False,
) -> tuple[Growth, ...]:
    """The growth of every resource that all `samples` have, in the order of RESOURCES, gauges last.

    `analysis` is the number of this analysis of the run; SECOND_ANALYSIS fits a run that is analysed once. With
    `more_to_come`, more calls may follow: what they could still show is inconclusive, not clean.
    """
    cycles = np.array([s.cycles for s in samples], dtype=np.float64)
    growths = []
    for resource in sorted({name for s in samples for name in s.values}, key=lambda name: (rank(name), name)):
        if all(resource in s.values for s in samples):
            values = np.array([s.values[resource] for s in samples], dtype=np.float64)
            floor = floors.get(resource, FLOOR)
            found = growth(resource, cycles, values, floor, analysis=analysis, more_to_come=more_to_come)
            if found.state == "inconclusive" and not more_to_come and found.samples >= MIN_SAMPLES:
                enough = calls_needed(resource, cycles, values, floor)
                most = _RUN_MULTIPLES[-1] * found.cycles
                needed = (
                    f"some {enough:,} calls would tell" if enough else f"it takes more than {most:,} calls to tell"
                )
                found = replace(found, note=f"{found.note}; {needed}")
            growths.append(found)
    return tuple(growths)


def calls_needed(resource: Resource, cycles: Floats, values: Floats, floor: float) -> int | None:
    """How many calls would make an inconclusive growth clean or leaking; None where a longer run would not.

    Extrapolates these samples to longer runs: growth continues at the same slope, while the distances of the samples
    from the fitted line stay the same, so that they weigh less.
    """
    if len(values) < MIN_SAMPLES:
        return None
    calls = cycles - cycles[0]
    slope, _, _ = theil_sen(calls, values)
    for times in _RUN_MULTIPLES:
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
    analysis: int = SECOND_ANALYSIS,
    more_to_come: bool = False,
) -> Growth:
    """Judge one resource: `values` at quiet points after `cycles` calls, above a noise floor in growth per call.

    `analysis` and `more_to_come` are those of `judge`.
    """
    number = len(values)
    calls = int(cycles[-1] - cycles[0]) if number else 0
    slope, low, high = theil_sen(cycles, values)

    def result(state: str, note: str = "") -> Growth:
        fitted = values[0] + slope * (cycles - cycles[0]) if number else values
        is_linear = bool(np.allclose(values, fitted, rtol=0.0, atol=_LINEARITY_TOLERANCE))
        exact = number > 2 and resource not in BYTES and is_linear
        return Growth(resource, state, slope, low, high, exact, calls, number, note)  # type: ignore[arg-type]

    if number < MIN_SAMPLES:
        return result("inconclusive", f"{number} samples; a verdict needs {MIN_SAMPLES}")
    p_value = mann_kendall(values)
    if slope > floor and ALPHA < p_value <= SUSPECT_P_VALUE and more_to_come:
        return result("inconclusive", "it may grow, and more calls are needed to tell it from noise")
    target = max(DETECTION_TARGETS.get(resource, 2 * FLOOR), 2 * floor)
    if slope <= floor or p_value > ALPHA:
        if high <= (target / 2 if more_to_come else target):
            return result("clean")
        if more_to_come:
            return result("inconclusive", "its noise could hide a leak, and more calls are needed to tell")
        return result("inconclusive", f"too noisy to see a leak of less than {amount(resource, high)} a call")
    # A cache that has filled, or a slow oscillation past its peak, is flat at the end, however steep the whole is.
    late_slope, _, late_high = theil_sen(cycles[number // 2 :], values[number // 2 :])
    if _persists(cycles, values, slope, late_slope, floor, is_final=analysis == FINAL_ANALYSIS):
        min_effect = (MIN_EFFECT_INTERIM if more_to_come else MIN_EFFECT) * _noise(values - slope * cycles)
        if low <= floor or slope * calls < min_effect:
            return result("inconclusive", "it grows, and more calls are needed to tell it from noise")
        found = result("leaking")
        if analysis > FIRST_ANALYSIS or (found.exact and slope * calls >= MIN_EXACT_GROWTH):
            return found
        return result("inconclusive", "it grows, though not evenly: as many calls again will tell if that continues")
    if more_to_come and late_high > target / 2:
        return result("inconclusive", "its growth may have stopped, and more calls are needed to tell")
    if late_slope <= floor or late_high <= slope / 2:
        return result("clean", "grew at first, then stopped: warm-up")
    return result("inconclusive", "its growth fades, and it is not certain that it stops")


def _persists(
    cycles: Floats, values: Floats, slope: float, late_slope: float, floor: float, *, is_final: bool
) -> bool:
    """Whether the last two thirds grow too, and the second half (`late_slope`) and the last third agree with that."""
    number = len(values)
    later, last = slice(number // 3, None), slice(-max(3, number // 3), None)
    min_slope, alpha = (
        (MIN_LATE_SLOPE_FINAL, PERSISTENCE_ALPHA_FINAL) if is_final else (MIN_LATE_SLOPE, PERSISTENCE_ALPHA)
    )
    later_slope = theil_sen(cycles[later], values[later])[0]
    if later_slope < max(floor, min_slope * slope) or mann_kendall(values[later]) >= alpha:
        return is_final and _rises_steadily(cycles[later], values[later], max(floor, MIN_LATE_SLOPE * slope))
    last_slope, _, last_high = theil_sen(cycles[last], values[last])
    if is_final:
        return last_high >= MIN_LATE_SLOPE * slope
    return min(late_slope, last_slope) >= MIN_LATE_SLOPE * slope


def _rises_steadily(cycles: Floats, values: Floats, min_slope: float) -> bool:
    """Whether nearly every sample is higher than the one before it, in the median by `min_slope` a call or more.

    An allocator that gives memory back in two steps can take a leak's trend away, but between the steps the leak
    still rises. This is the sign test of the changes from sample to sample.
    """
    rises = np.diff(values) / np.diff(cycles)
    ups, number = int((rises > 0).sum()), int((rises != 0).sum())
    p_value = sum(math.comb(number, k) for k in range(ups, number + 1)) / 2**number
    return p_value < ALPHA and float(np.median(rises)) >= min_slope


def _noise(residuals: Floats) -> float:
    """Standard deviation of the samples about the fitted line, without the first samples and without outliers."""
    counted = residuals[_START_SAMPLES:]
    padded = np.pad(counted, _HAMPEL_NEIGHBOURS, "edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * _HAMPEL_NEIGHBOURS + 1)
    distances = np.abs(counted - np.median(windows, axis=1))
    most = _HAMPEL_THRESHOLD * _STANDARD_DEVIATIONS_PER_MAD * np.median(distances)
    return float(np.std(counted[distances <= most]))


def theil_sen(x: Floats, y: Floats) -> tuple[float, float, float]:
    """(slope, low, high): the median slope between all pairs of points, and Sen's interval at CONFIDENCE.

    Infinite where no two points differ in `x`.
    """
    i, j = np.triu_indices(len(x), k=1)
    dx = x[j] - x[i]
    slopes = np.sort((y[j] - y[i])[dx > 0] / dx[dx > 0])
    if not len(slopes):
        return 0.0, -math.inf, math.inf
    width = _Z_CONFIDENCE * math.sqrt(_kendall_variance(y))
    first = max(0, math.floor((len(slopes) - width) / 2))
    last = min(len(slopes) - 1, math.ceil((len(slopes) + width) / 2))
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
    """Variance of Kendall's score of the values of `y` in random order, corrected for ties."""
    number = len(y)
    _, ties = np.unique(y, return_counts=True)
    tied = float((ties * (ties - 1) * (2 * ties + 5)).sum())
    return (number * (number - 1) * (2 * number + 5) - tied) / 18
