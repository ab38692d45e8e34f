"""The wait for what goes away by itself, with time as an argument."""

import math
from collections.abc import Sequence

import pytest

from leakline.harness.data.model import Growth, Resource
from leakline.harness.judge.cool_down import MOST_BACK, MOST_EXTENSIONS, CoolDown, may_be_left, progress

FLOOR = 0.05


def growth(per_cycle: float, resource: Resource = "timers") -> Growth:
    return Growth(resource, "inconclusive", per_cycle, per_cycle, per_cycle, False, 100, 13)


@pytest.mark.parametrize(
    ("per_cycle", "left"),
    [
        (1.0, 20.0),  # a fifth of the 100
        (0.06, 1.2),
        (0.05, 5.0),  # it is noisy: as much as the floor allows
        (0.0, 5.0),
        (-1.0, 5.0),
    ],
)
def test_a_part_of_what_grew_may_be_left_and_of_what_is_noisy_what_the_floor_allows(
    per_cycle: float, left: float
) -> None:
    assert may_be_left(growth(per_cycle), FLOOR) == pytest.approx(left)


def test_a_batch_may_bring_back_more_than_may_be_left() -> None:
    assert may_be_left(growth(1.0), FLOOR, MOST_BACK) == pytest.approx(60.0)


def test_one_thing_less_is_progress_and_of_memory_a_part_of_its_growth() -> None:
    assert progress(growth(1.0)) == 1.0
    assert progress(growth(1000.0, "heap")) == pytest.approx(5000.0)
    assert progress(growth(-1000.0, "heap")) == math.inf


def test_memory_that_did_not_grow_prolongs_nothing() -> None:
    cool_down = CoolDown({"heap": 0.0}, now=0.0, length_s=6.0, progress={"heap": math.inf})
    for now in range(6):
        cool_down.observe(float(now), {"heap": 1000.0 - now})
    assert cool_down.is_over(6.0)


def seen(cool_down: CoolDown, *readings: tuple[float, float], of: Resource = "tasks") -> bool:
    """Whether it is over after all readings (seconds, value), and was not before the last."""
    for number, (now, value) in enumerate(readings, 1):
        cool_down.observe(now, {of: value})
        if number < len(readings) and cool_down.is_over(now):
            return False
    return cool_down.is_over(readings[-1][0])


def test_it_is_over_as_soon_as_all_is_gone() -> None:
    cool_down = CoolDown({"tasks": 2.0}, now=100.0, length_s=6.0)
    assert seen(cool_down, (100.0, 9.0), (101.0, 3.0), (102.5, 2.0))
    assert cool_down.gone == {"tasks": 2.5}


def test_it_is_over_when_the_time_is_up_and_what_is_left_is_not_gone() -> None:
    cool_down = CoolDown({"tasks": 2.0, "timers": 0.0}, now=0.0, length_s=6.0)
    cool_down.observe(1.0, {"tasks": 1.0, "timers": 5.0})
    assert not cool_down.is_over(5.9)
    assert cool_down.is_over(6.0)
    assert cool_down.gone == {"tasks": 1.0}


def test_what_comes_again_is_not_gone_and_is_timed_from_when_it_is_gone_for_good() -> None:
    cool_down = CoolDown({"tasks": 2.0, "timers": 0.0}, now=0.0, length_s=6.0)
    for now, tasks in ((1.0, 2.0), (2.0, 7.0), (3.0, 2.0), (4.0, 2.0)):
        cool_down.observe(now, {"tasks": tasks, "timers": 1.0})
    assert cool_down.gone == {"tasks": 3.0}


def test_what_is_not_among_the_counters_is_not_gone() -> None:
    cool_down = CoolDown({"tasks": 2.0}, now=0.0, length_s=6.0)
    cool_down.observe(1.0, {})
    assert not cool_down.is_over(1.0)


@pytest.mark.parametrize(
    ("readings", "until"),
    [
        ([(1.0, 9.0), (5.0, 9.0)], 6.0),  # nothing moves
        ([(1.0, 9.0), (5.0, 8.5)], 6.0),  # by less than a step
        ([(1.0, 9.0), (5.0, 8.0)], 11.0),  # one less: as long again from then on
        ([(1.0, 9.0), (5.0, 8.0), (10.0, 7.0)], 16.0),
        ([(1.0, 9.0), (2.0, 12.0), (5.0, 9.0)], 6.0),  # no less than it was before
        ([(5.0, 9.0)], 6.0),  # the first reading is no progress
    ],
)
def test_it_is_prolonged_while_there_is_less_and_less(readings: Sequence[tuple[float, float]], until: float) -> None:
    cool_down = CoolDown({"tasks": 2.0}, now=0.0, length_s=6.0, progress={"tasks": 1.0})
    for now, value in readings:
        cool_down.observe(now, {"tasks": value})
    assert not cool_down.is_over(until - 0.01)
    assert cool_down.is_over(until)


def test_it_is_not_prolonged_for_ever() -> None:
    cool_down = CoolDown({"tasks": 0.0}, now=0.0, length_s=6.0, progress={"tasks": 1.0})
    now = 0.0
    while not cool_down.is_over(now):
        cool_down.observe(now, {"tasks": 1000.0 - now})
        now += 1.0
    assert now == (MOST_EXTENSIONS + 1) * 6.0
