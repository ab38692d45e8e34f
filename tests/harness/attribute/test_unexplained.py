from pathlib import Path

import pytest

from leakline.harness.attribute import findings, unexplained
from leakline.harness.data.model import Frame, Growth, Resource
from leakline.harness.data.survey import SiteCount, Survey

ROOT = Path("/srv/app")


def user(line: int, function: str = "serve") -> Frame:
    return Frame("/srv/app/server.py", line, function, "user")


def growth(resource: Resource, per_cycle: float, state: str = "leaking") -> Growth:
    return Growth(resource, state, per_cycle, per_cycle, per_cycle, True, 100, 13)  # type: ignore[arg-type]


def survey(resource: Resource, size_bytes: int, heap: tuple[SiteCount, ...] = ()) -> Survey:
    """Of ten calls."""
    return Survey(10, {resource: (SiteCount((user(3, "ask"),), 10, size_bytes),)}, heap)


@pytest.mark.parametrize(("retained", "is_needed"), [(7000, False), (6900, True)])
def test_allocations_are_traced_where_what_leaks_retains_too_little_of_the_heap(
    retained: int, is_needed: bool
) -> None:
    grown = [growth("timers", 1.0), growth("heap", 1000.0)]
    assert unexplained.needs_deep_trace(grown, survey("timers", retained)) == is_needed


def test_what_waits_retains_something_only_where_nothing_else_leaks() -> None:
    waiting = survey("promises", 9000)
    assert not unexplained.needs_deep_trace([growth("promises", 1.0), growth("heap", 1000.0)], waiting)
    grown = [growth("timers", 1.0), growth("promises", 1.0), growth("heap", 1000.0)]
    assert unexplained.needs_deep_trace(grown, waiting)


def test_allocations_are_traced_for_objects_that_grow_beside_memory_alone() -> None:
    objects = growth("objects", 3.0)
    assert unexplained.needs_deep_trace([objects, growth("rss", 9000.0)], Survey(10))
    assert not unexplained.needs_deep_trace([objects, growth("timers", 1.0)], Survey(10))
    assert not unexplained.needs_deep_trace([growth("timers", 1.0), growth("heap", 9.0, "clean")], Survey(10))


@pytest.mark.parametrize(
    ("left", "heap", "is_too_much"),
    [(64.0, 100.0, False), (65.0, 100.0, True), (300.0, 1000.0, False), (301.0, 1000.0, True)],
)
def test_a_small_part_of_the_heaps_growth_or_what_is_no_growth_may_stay_unexplained(
    left: float, heap: float, is_too_much: bool
) -> None:
    assert unexplained.is_unexplained(left, growth("heap", heap)) == is_too_much


def test_c_code_is_traced_where_the_lines_of_python_allocate_too_little() -> None:
    grown = [growth("sockets", 1.0), growth("heap", 30_000.0)]
    first = survey("sockets", 50_000)
    enough, too_little = (Survey(10, heap=(SiteCount((user(4),), 10, size),)) for size in (160_000, 150_000))
    assert not unexplained.needs_native_trace(grown, first, enough)
    assert unexplained.needs_native_trace(grown, first, too_little)
    assert not unexplained.needs_native_trace(grown[:1], first, too_little)


def test_memory_whose_freeing_memray_did_not_see_is_no_leak() -> None:
    grown = [growth("sockets", 1.0), growth("heap", 30_000.0)]
    first = survey("sockets", 0)
    deep = Survey(10, heap=(SiteCount((user(4, "keep"),), 10, 180_000),))
    unseen = SiteCount((user(9, "Codec.__init__"),), 10, 655_360)
    codec = Survey(10, heap=(unseen,))
    clear = Survey(10, heap=(unseen, SiteCount((user(5, "parse"),), 10, 290_000)))
    assert unexplained.needs_native_trace(grown, first, deep)
    assert unexplained.clearest(grown, first, deep, codec) == deep
    chosen = unexplained.clearest(grown, first, deep, clear)
    assert [f.site.function for f in findings.build(grown, first, ROOT, chosen) if f.site] == ["ask", "parse"]


def test_a_piece_that_did_not_move_while_few_calls_were_traced_has_the_line_of_the_longer_trace() -> None:
    grown = [growth("heap", 810.0)]
    longer = Survey(10, pieces=(SiteCount((user(7, "note"),), 8000, 8000), SiteCount((user(9, "last"),), 300, 300)))
    deep = unexplained.with_pieces(grown, longer, Survey(5))
    assert deep.allocated_per_cycle == 800.0  # the last words were longer this time, no more
    own = Survey(5, pieces=(SiteCount((user(8, "note"),), 4000, 4000),))
    assert unexplained.with_pieces(grown, longer, own) == own
