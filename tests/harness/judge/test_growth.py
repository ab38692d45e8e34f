from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from leakline.harness.data.model import Growth, Resource, Sample
from leakline.harness.judge.growth import (
    DETECTION_TARGETS,
    FINAL_ANALYSIS,
    FIRST_ANALYSIS,
    FLOORS,
    MIN_SAMPLES,
    calls_needed,
    floors_for,
    growth,
    judge,
    mann_kendall,
    theil_sen,
)

CYCLES: NDArray[np.float64] = np.arange(0, 104, 8, dtype=np.float64)
RNG = np.random.default_rng(20261124)


def judged(resource: Resource, values: object, cycles: object = None) -> Growth:
    x = np.asarray(CYCLES if cycles is None else cycles, dtype=np.float64)
    return growth(resource, x, np.asarray(values, dtype=np.float64), FLOORS[resource])


def test_a_counter_that_rises_with_every_call_leaks_exactly() -> None:
    found = judged("listeners", 3 + 5 * CYCLES)
    assert (found.state, found.per_cycle, found.low, found.high, found.exact) == ("leaking", 5.0, 5.0, 5.0, True)
    assert (found.cycles, found.samples) == (96, 13)


def test_one_in_ten_calls_is_found() -> None:
    found = judged("timers", np.floor(CYCLES / 10))
    assert found.state == "leaking"
    assert found.per_cycle == pytest.approx(0.1, rel=0.2)
    assert not found.exact


@pytest.mark.parametrize(
    "values",
    [
        np.full(13, 7.0),
        np.where(np.arange(13) == 6, 90.0, 7.0),  # a spike
        np.where(np.arange(13) > 6, 9.0, 7.0),  # one step
        7.0 + (np.arange(13) % 2),  # a counter caught between two states
        100.0 - CYCLES,  # it shrinks
    ],
)
def test_spikes_steps_and_flicker_are_not_leaks(values: object) -> None:
    assert judged("timers", values).state == "clean"


def test_bytes_are_found_under_noise_and_noise_is_not() -> None:
    noise = RNG.normal(0, 2000, 13)
    leak = judged("heap", 2_000_000 + 1024 * CYCLES + noise)
    assert leak.state == "leaking"
    assert leak.low < 1024 < leak.high
    assert judged("heap", 2_000_000 + noise).state == "clean"


def test_noise_alone_rarely_alarms() -> None:
    states = [judged("heap", RNG.normal(0, 5000, 13)).state for _ in range(500)]
    assert states.count("leaking") == 0


def test_warm_up_that_stops_is_clean_and_says_so() -> None:
    found = judged("heap", 500_000 * (1 - np.exp(-CYCLES / 12)))
    assert found.state == "clean"
    assert "warm-up" in found.note


def test_growth_that_fades_but_has_not_stopped_is_inconclusive() -> None:
    found = judged("heap", 100_000 * (1 - np.exp(-CYCLES / 30)))
    assert found.state == "inconclusive"
    assert "fades" in found.note


def test_too_few_samples_are_inconclusive_and_say_how_many_it_takes() -> None:
    short = CYCLES[: MIN_SAMPLES - 1]
    found = judged("timers", short, short)
    assert found.state == "inconclusive"
    assert str(MIN_SAMPLES) in found.note
    assert judged("timers", [1.0], [0.0]).state == "inconclusive"


def test_the_slope_and_its_interval_are_those_of_the_literature() -> None:
    # The example of Sen (1968), also in Hollander and Wolfe: slope 4.
    x = np.array([1.0, 2.0, 3.0, 4.0, 10.0, 12.0, 18.0])
    y = np.array([9.0, 15.0, 19.0, 20.0, 45.0, 55.0, 78.0])
    slope, low, high = theil_sen(x, y)
    assert slope == pytest.approx(4.0)
    assert low <= 4.0 <= high


def test_the_trend_test_corrects_for_ties() -> None:
    assert mann_kendall(np.ones(10)) == 1.0
    rising = mann_kendall(np.arange(10.0))
    assert rising == pytest.approx(4.15e-5, rel=0.05)  # z = (45 - 1) / sqrt(125)
    assert mann_kendall(-np.arange(10.0)) > 0.999


def test_only_what_every_sample_has_is_judged() -> None:
    def values(number: int) -> dict[Resource, float]:
        seen: dict[Resource, float] = {"rss": 1e6, "fds": 9.0}
        return {**seen, "heap": 1.0} if number else seen

    samples = [Sample(n * 8, float(n), values(n)) for n in range(MIN_SAMPLES)]
    assert [g.resource for g in judge(samples)] == ["fds", "rss"]
    assert judge([]) == ()


def test_an_outlier_calls_for_more_calls_and_does_not_hide_a_leak() -> None:
    cycles = np.arange(9.0) * 8
    values = 106_552 + 3 * cycles
    values[5] -= 500
    assert growth("objects", cycles, values, 0.02, analysis=FIRST_ANALYSIS, more_to_come=True).state == "inconclusive"
    cycles = np.arange(25.0) * 8
    values = 106_552 + 3 * cycles
    values[5] -= 500
    assert growth("objects", cycles, values, 0.02, analysis=FINAL_ANALYSIS).state == "leaking"


def test_growth_below_the_minimum_effect_is_inconclusive() -> None:
    cycles = np.arange(37.0) * 8
    noise = 60_000 * np.where(np.arange(37) % 2, 1.0, -1.0)
    assert mann_kendall(512 * cycles + noise) < 0.001
    assert growth("heap", cycles, 512 * cycles + noise, 64.0, analysis=FINAL_ANALYSIS).state == "inconclusive"
    assert growth("heap", cycles, 2048 * cycles + noise, 64.0, analysis=FINAL_ANALYSIS).state == "leaking"


def test_outliers_do_not_make_a_steady_leak_inconclusive() -> None:
    cycles = np.arange(25.0) * 4
    values = 53e6 + 500 * cycles + RNG.uniform(-1_000, 1_000, 25)
    values[[12, 14, 23]] -= 75_000  # a pool had closed its idle connections, three times in 25
    assert growth("heap", cycles, values, 64.0, analysis=FINAL_ANALYSIS).state == "leaking"
    flickers: NDArray[np.float64] = 53e6 + 500 * cycles - 75_000 * (np.arange(25) % 3 == 2)
    assert growth("heap", cycles, flickers, 64.0, analysis=FINAL_ANALYSIS).state == "inconclusive"


def test_a_leak_is_found_though_an_allocator_gives_back_two_steps_and_steps_alone_are_not() -> None:
    cycles = np.arange(37.0) * 8
    steps = 77_000.0 * ((cycles >= 40).astype(float) - (cycles >= 140) - (cycles >= 220))
    assert growth("heap", cycles, 5e7 + 1024 * cycles + steps, 64.0, analysis=FINAL_ANALYSIS).state == "leaking"
    up: NDArray[np.float64] = 5e7 + 77_000.0 * ((cycles >= 40).astype(float) + (cycles >= 90) + (cycles >= 200))
    assert growth("heap", cycles, up, 64.0, analysis=FINAL_ANALYSIS).state != "leaking"


def test_a_jump_of_the_first_batch_does_not_hide_a_leak() -> None:
    cycles = np.arange(25.0) * 4
    values = 100_000 + 3 * cycles
    values[0] -= 656
    assert growth("objects", cycles, values, 0.5, analysis=FINAL_ANALYSIS).state == "leaking"


def test_noise_that_could_hide_a_leak_is_inconclusive_and_says_of_which_size() -> None:
    values = 1e6 + RNG.uniform(-200_000, 200_000, 13)
    assert growth("heap", CYCLES, values, 64.0, analysis=FIRST_ANALYSIS, more_to_come=True).state == "inconclusive"
    last = growth("heap", CYCLES, values, 64.0)
    assert last.state == "inconclusive"
    assert last.note.startswith("too noisy to see a leak of less than ")


@pytest.mark.parametrize(
    ("amplitude", "interim", "final"),
    [
        (1_000, "clean", "clean"),
        (20_000, "inconclusive", "clean"),  # its interval reaches between half of the detection target and the whole
        (60_000, "inconclusive", "inconclusive"),
    ],
)
def test_what_is_clean_in_the_end_has_no_room_for_a_leak_that_should_not_be_missed(
    amplitude: float, interim: str, final: str
) -> None:
    values = 1e6 + amplitude * np.where(np.arange(13) % 2, 1.0, -1.0)
    last = growth("heap", CYCLES, values, FLOORS["heap"])
    assert (growth("heap", CYCLES, values, FLOORS["heap"], more_to_come=True).state, last.state) == (interim, final)
    assert (last.high <= DETECTION_TARGETS["heap"]) == (final == "clean")
    assert (last.high <= DETECTION_TARGETS["heap"] / 2) == (interim == "clean")


def test_an_inconclusive_growth_says_how_many_calls_would_tell() -> None:
    noise = RNG.uniform(-200_000, 200_000, 13)
    values = {float(at): 1e6 + off for at, off in zip(CYCLES, noise, strict=True)}
    samples = [Sample(int(at), at, {"heap": value}) for at, value in values.items()]
    (found,) = judge(samples)
    enough = calls_needed("heap", CYCLES, np.array([*values.values()]), FLOORS["heap"])
    assert enough is not None
    assert enough % 96 == 0
    assert f"some {enough:,} calls would tell" in found.note
    times = enough / 96
    longer = [Sample(int(times * s.cycles), s.at_s, s.values) for s in samples]
    slope = max(0.0, theil_sen(CYCLES, np.array([*values.values()]))[0])
    longer = [replace(s, values={"heap": s.values["heap"] + (1 - 1 / times) * slope * s.cycles}) for s in longer]
    assert judge(longer)[0].state != "inconclusive"


def test_where_no_run_of_a_sensible_length_would_tell_that_is_said() -> None:
    values = 1e6 + RNG.uniform(-2e9, 2e9, 13)
    assert calls_needed("heap", CYCLES, values, FLOORS["heap"]) is None
    (noisy,) = judge([Sample(int(at), at, {"heap": value}) for at, value in zip(CYCLES, values, strict=True)])
    assert noisy.note.endswith("; it takes more than 1,536 calls to tell")
    (found,) = judge([Sample(8 * n, float(n), {"heap": float(n)}) for n in range(MIN_SAMPLES - 1)])
    assert found.note == "7 samples; a verdict needs 8"


def test_little_exact_growth_is_no_leak_in_the_first_analysis() -> None:
    little = growth("timers", CYCLES, 4 + CYCLES / 16, 0.05, analysis=FIRST_ANALYSIS, more_to_come=True)
    assert little.exact
    assert little.state == "inconclusive"  # six in all: a cache may be filling
    enough = growth("timers", CYCLES, 4 + CYCLES / 8, 0.05, analysis=FIRST_ANALYSIS, more_to_come=True)
    assert enough.state == "leaking"


def test_warm_up_that_is_over_by_the_final_analysis_is_clean() -> None:
    cycles = np.arange(0, 296, 8, dtype=np.float64)
    warm: NDArray[np.float64] = 1e6 + 300_000 * (1 - np.exp(-cycles / 25)) + RNG.uniform(-8_000, 8_000, 37)
    assert growth("heap", cycles, warm, 64.0, analysis=FINAL_ANALYSIS).state == "clean"
    leak: NDArray[np.float64] = warm + 1024 * cycles
    assert growth("heap", cycles, leak, 64.0, analysis=FINAL_ANALYSIS).state == "leaking"


def test_growth_without_a_trend_of_its_own_in_the_last_two_thirds_is_inconclusive() -> None:
    values = np.array([0.0, 11, 15, 35, 42, 35, 45, 39, 39, 44, 44, 63, 51])
    assert mann_kendall(values) < 0.001
    assert mann_kendall(values[4:]) > 0.01
    assert theil_sen(CYCLES[4:], values[4:])[0] > theil_sen(CYCLES, values)[0] / 2  # by its slope it persists
    assert judged("timers", values).state == "inconclusive"


def test_growth_whose_confidence_interval_reaches_the_floor_is_inconclusive() -> None:
    cycles = np.arange(37.0) * 8
    noise = np.random.default_rng(7).uniform(-5_000, 5_000, 37)
    near = judged("heap", 5e7 + 80 * cycles + noise, cycles)
    assert near.low < FLOORS["heap"] < near.per_cycle
    assert near.state == "inconclusive"
    assert judged("heap", 5e7 + 160 * cycles + noise, cycles).state == "leaking"


MIB = 1024.0 * 1024


@pytest.mark.parametrize(
    ("resource", "languages", "calls", "grown", "state"),
    [
        # Over a whole run an allocator may keep 2 MiB of pages; a long run has a floor of 16 KiB a call.
        ("rss", ["Python"], 96, 1.9 * MIB, "clean"),
        ("rss", ["Python"], 96, 2.1 * MIB, "leaking"),
        ("rss", ["Python"], 960, 960 * 15_000.0, "clean"),
        ("rss", ["Python"], 960, 960 * 18_000.0, "leaking"),
        # V8 may note 128 KiB as it compiles; a Python heap has no such allowance, nor has a long run of Node.
        ("heap", ["Python", "Node"], 96, 0.12 * MIB, "clean"),
        ("heap", ["Python", "Node"], 96, 0.13 * MIB, "leaking"),
        ("heap", ["Python"], 96, 0.12 * MIB, "leaking"),
        ("heap", ["Python"], 96, 96 * 50.0, "clean"),
        ("heap", ["Node"], 4_800, 4_800 * 50.0, "clean"),
        ("heap", ["Node"], 4_800, 4_800 * 80.0, "leaking"),
    ],
)
def test_a_leak_of_bytes_is_more_than_warm_up_may_take(
    resource: Resource, languages: list[str], calls: int, grown: float, state: str
) -> None:
    cycles = np.linspace(0, calls, 25)
    found = growth(resource, cycles, 5e7 + grown / calls * cycles, floors_for(languages, calls)[resource])
    assert found.state == state


def test_before_any_call_the_floors_are_those_of_a_long_run() -> None:
    assert floors_for(["Node"], 0) == FLOORS
