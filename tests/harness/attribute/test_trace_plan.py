"""Which trace windows are due, told what survived each."""

import pytest

from leakline.harness.attribute.trace_plan import DEEP_CYCLES, LEAST_CYCLES, MOST_CYCLES, Traced, Window, trace_plan
from leakline.harness.data.model import Frame, Growth, Resource
from leakline.harness.data.survey import SiteCount, Survey

USER = (Frame("/srv/app/server.py", 7, "serve", "user"),)


def growth(resource: Resource, rate: float) -> Growth:
    return Growth(resource, "leaking", rate, rate, rate, True, 96, 13)


def survivors(retained: int = 0, cycles: int = LEAST_CYCLES) -> Survey:
    return Survey(cycles, {"timers": (SiteCount(USER, cycles, retained * cycles),)})


def allocated(size: int) -> Survey:
    return Survey(DEEP_CYCLES, heap=(SiteCount(USER, DEEP_CYCLES, size * DEEP_CYCLES),))


def walk(growths: list[Growth], *answers: Survey | None) -> tuple[list[Window], Traced]:
    """(the windows that were due, what was found) when they are answered so."""
    plan = trace_plan(growths)
    windows = [next(plan)]
    for answer in answers:
        try:
            windows.append(plan.send(answer))
        except StopIteration as done:
            traced: Traced = done.value
            return windows, traced
    raise AssertionError("it asked for more windows")


def test_where_nothing_of_the_heap_is_unexplained_one_window_is_enough() -> None:
    first = survivors(retained=1000)
    windows, traced = walk([growth("timers", 1.0), growth("heap", 1000.0)], first)
    assert windows == [Window("things", LEAST_CYCLES)]
    assert traced == Traced(first)


@pytest.mark.parametrize(
    ("rate", "cycles"), [(5.0, LEAST_CYCLES), (1.0, LEAST_CYCLES), (0.1, 40), (0.01, MOST_CYCLES)]
)
def test_the_first_window_is_long_enough_for_the_rarest_leak(rate: float, cycles: int) -> None:
    assert next(trace_plan([growth("timers", rate), growth("tasks", 7.0)])) == Window("things", cycles)


def test_what_does_not_leak_and_memory_do_not_make_it_longer() -> None:
    clean = Growth("tasks", "clean", 0.001, 0.0, 0.002, False, 96, 13)
    assert next(trace_plan([clean, growth("objects", 0.02)])) == Window("things", LEAST_CYCLES)


def test_a_heap_that_grows_by_more_than_survivors_retain_is_traced_with_stacks() -> None:
    deep = allocated(900)
    windows, traced = walk([growth("heap", 1000.0)], survivors(), deep)
    assert windows[1:] == [Window("stacks", DEEP_CYCLES)]
    assert traced.deep == deep


def test_a_heap_that_no_line_of_pythons_explains_is_traced_in_c_and_the_clearer_survey_believed() -> None:
    native = allocated(1000)
    windows, traced = walk([growth("heap", 1000.0)], survivors(), allocated(10), native)
    assert [window.depth for window in windows] == ["things", "stacks", "native"]
    assert traced.deep == native


def test_where_c_code_cannot_be_traced_what_there_is_must_do() -> None:
    deep = allocated(10)
    _, traced = walk([growth("heap", 1000.0)], survivors(), deep, None)
    assert traced.deep == deep


def test_the_first_window_must_be_answered() -> None:
    with pytest.raises(ValueError, match="was not answered"):
        walk([growth("timers", 1.0)], None)
