"""Error rates of the verdict on simulated runs: `python benchmarks/verdict.py [--traces N]`.

Clean traces of seven kinds of noise, at the amplitude that each counter has on the sound restaurant and at three
times that; then leaks of several sizes under all of these. For each: how often the verdict is leaking and
inconclusive, with the upper 95 % bound of false alarms. The same traces through three simpler rules, for comparison:
before and after, psleak's (it grew in each of the last rounds) and CPython refleak's (it grew in each of three
rounds).
"""

from __future__ import annotations

import argparse
import math
import os
import platform
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leakline.harness.data.model import BYTES, Resource
from leakline.harness.judge.growth import FINAL_ANALYSIS, FIRST_ANALYSIS, FLOORS, growth

Floats = NDArray[np.float64]
Noise = Callable[[np.random.Generator, Floats, float], Floats]

BATCH, CALLS = 8, 96
AMPLITUDE: Mapping[Resource, float] = {
    "timers": 0.6,
    "sockets": 0.6,
    "objects": 277.0,
    "heap": 63_000.0,
    "rss": 43_000.0,
}
"""Noise of each counter, in things or bytes: its standard deviation from the run's median in 148 samples of the sound
restaurant, 8 calls at a time. Timers and sockets never changed; 0.6 is assumed. Each kind of lasting noise has this
standard deviation."""

_HIGH = 3 * math.sqrt(3)
"""Height of a warm-up or of a full cache, in amplitudes."""

LEAKS: tuple[tuple[Resource, float], ...] = (
    ("timers", 0.1),
    ("timers", 1.0),
    ("objects", 3.0),
    ("heap", 100.0),
    ("heap", 1024.0),
    ("heap", 10_240.0),
    ("rss", 16_384.0),
    ("rss", 65_536.0),
)


def white(random: np.random.Generator, cycles: Floats, size: float) -> Floats:
    return math.sqrt(3) * random.uniform(-size, size, len(cycles))


def sawtooth(random: np.random.Generator, cycles: Floats, size: float) -> Floats:
    """Garbage that grows until a collection frees it."""
    period = random.uniform(20, 60)
    return np.asarray(math.sqrt(12) * size * (((cycles + random.uniform(0, period)) % period) / period))


def warm_up(random: np.random.Generator, cycles: Floats, size: float) -> Floats:
    """Growth that fades to nothing within the run."""
    rise = _HIGH * size * (1 - np.exp(-cycles / random.uniform(5, 30)))
    return np.asarray(rise + white(random, cycles, size / 10))


def cache(random: np.random.Generator, cycles: Floats, size: float) -> Floats:
    """A cache: growth with each call until it is full, which it is before the run ends."""
    full_after = random.uniform(10, 0.75 * CALLS)
    return np.asarray(_HIGH * size * np.minimum(cycles / full_after, 1.0) + white(random, cycles, size / 10))


def steps(random: np.random.Generator, cycles: Floats, size: float) -> Floats:
    """An allocator that now and then takes a page or gives one back."""
    jumps = random.choice([-1.0, 1.0], len(cycles)) * (random.random(len(cycles)) < 0.1)
    return np.asarray(math.sqrt(1.5) * size * np.clip(np.cumsum(jumps), -1, 1))


def drift(random: np.random.Generator, cycles: Floats, size: float) -> Floats:
    """A slow oscillation, of which the run sees one to three periods."""
    period = CALLS / random.uniform(1, 3)
    swing = np.sin(2 * math.pi * (cycles / period + random.random()))
    return np.asarray(math.sqrt(2) * size * swing + white(random, cycles, size / 10))


def drops(random: np.random.Generator, cycles: Floats, size: float) -> Floats:
    """A constant value, but for one sample in ten: a pool had closed its idle connections."""
    return np.asarray(-size / 0.3 * (random.random(len(cycles)) < 0.1))


NOISES: Mapping[str, Noise] = {
    "white": white,
    "sawtooth": sawtooth,
    "warm-up": warm_up,
    "cache": cache,
    "steps": steps,
    "drift": drift,
    "drops": drops,
}


def no_noise(_random: np.random.Generator, cycles: Floats, _size: float) -> Floats:
    return np.zeros(len(cycles))


@dataclass
class Rates:
    """How many of some traces a rule judged to be what."""

    number: int
    leaking: int
    inconclusive: int
    calls: float = 0.0
    """Mean number of calls until the verdict."""

    def text(self, *, alarm: bool) -> str:
        """The rate of false alarms with its upper 95 % bound (`alarm`), or of leaks found with the calls made."""
        share = self.leaking / self.number
        if alarm:
            bound = upper(self.leaking, self.number)
            return f"{self.leaking} of {self.number:,} (< {100 * bound:.2f} %), inconclusive {self.inconclusive}"
        inconclusive = 100 * self.inconclusive / self.number
        return f"{100 * share:.1f} %, inconclusive {inconclusive:.1f} %, {self.calls:.0f} calls"


def upper(hits: int, number: int) -> float:
    """Upper 95 % bound of a rate (Wilson's score interval)."""
    z, p = 1.645, hits / number
    centre = p + z * z / (2 * number)
    return min(
        1.0, (centre + z * math.sqrt(p * (1 - p) / number + z * z / (4 * number * number))) / (1 + z * z / number)
    )


def trace(
    random: np.random.Generator, noise: Noise, size: float, leak: float, resource: Resource, calls: int
) -> tuple[Floats, Floats]:
    cycles = np.arange(0, calls + 1, BATCH, dtype=np.float64)
    values = 1e6 + noise(random, cycles, size) + leak * cycles
    return cycles, values if resource in BYTES else np.floor(values)


def judged(
    random: np.random.Generator, noise: Noise, size: float, leak: float, resource: Resource
) -> tuple[str, int]:
    """(verdict, calls made), analysed as in a run: as many calls again while it is inconclusive."""
    cycles, values = trace(random, noise, size, leak, resource, FINAL_ANALYSIS * CALLS)
    for analysis in range(FIRST_ANALYSIS, FINAL_ANALYSIS + 1):
        seen = analysis * CALLS // BATCH + 1
        more = analysis < FINAL_ANALYSIS
        found = growth(resource, cycles[:seen], values[:seen], FLOORS[resource], analysis=analysis, more_to_come=more)
        state = found.state
        if state != "inconclusive":
            break
    return state, analysis * CALLS


def rates(noise: Noise, size: float, leak: float, resource: Resource, number: int) -> Rates:
    random = np.random.default_rng(20261124)
    states = [judged(random, noise, size, leak, resource) for _ in range(number)]
    counted = Counter(state for state, _ in states)
    return Rates(number, counted["leaking"], counted["inconclusive"], float(np.mean([calls for _, calls in states])))


def rule_before_after(values: Floats, floor: float, cycles: Floats) -> bool:
    return bool(values[-1] - values[0] > floor * (cycles[-1] - cycles[0]))


def rule_last_rounds(values: Floats, floor: float, cycles: Floats) -> bool:
    """psleak: memory grew in each of its rounds (here the last five)."""
    return bool(np.all(np.diff(values[-6:]) > 0))


def rule_refleak(values: Floats, floor: float, cycles: Floats) -> bool:
    """CPython's refleak: after warm-up, it grew in each of three rounds."""
    return bool(np.all(np.diff(values[-4:]) >= 1))


RULES = {"before/after": rule_before_after, "psleak's": rule_last_rounds, "refleak's": rule_refleak}


def by_rule(
    rule: Callable[[Floats, float, Floats], bool], noise: Noise, size: float, leak: float, r: Resource, n: int
) -> str:
    random = np.random.default_rng(20261124)
    hits = 0
    for _ in range(n):
        cycles, values = trace(random, noise, size, leak, r, CALLS)
        hits += rule(values, FLOORS[r], cycles)
    return f"{100 * hits / n:.1f} %"


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--traces", type=int, default=10_000)
    number = parser.parse_args().traces
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {number:,} traces each\n"
    )
    print(f"False alarms on clean traces of {CALLS} calls (up to {FINAL_ANALYSIS * CALLS} while inconclusive)\n")
    rules = " | ".join(RULES)
    print(f"| counter | noise | at its amplitude | at three times | {rules} |\n|---|---|---|---|---|---|---|")
    for resource, size in AMPLITUDE.items():
        for name, noise in NOISES.items():
            cells = [rates(noise, times * size, 0.0, resource, number).text(alarm=True) for times in (1, 3)]
            cells += [by_rule(rule, noise, size, 0.0, resource, min(number, 1000)) for rule in RULES.values()]
            print(f"| {resource} | {name} | {' | '.join(cells)} |", flush=True)
    print(f"\nLeaks found\n\n| leak a call | noise | found | {rules} |\n|---|---|---|---|---|---|")
    for resource, leak in LEAKS:
        for name, noise in {"none": no_noise, **NOISES}.items():
            traces = max(100, number // 10)
            cells = [rates(noise, AMPLITUDE[resource], leak, resource, traces).text(alarm=False)]
            cells += [by_rule(rule, noise, AMPLITUDE[resource], leak, resource, traces) for rule in RULES.values()]
            print(f"| {resource} {leak:,g} | {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
