from pathlib import Path

import pytest

from leakline.harness.attribute import findings, unexplained
from leakline.harness.attribute.groups import Group
from leakline.harness.data.model import Companion, Finding, Frame, Growth, Resource, Site
from leakline.harness.data.survey import Retainer, SiteCount, Survey

ROOT = Path("/srv/app")
LIBRARY = Frame("/venv/lib/python3.11/site-packages/websockets/client.py", 9, "connect", "library")


def user(line: int, function: str = "serve", file: str = "/srv/app/server.py") -> Frame:
    return Frame(file, line, function, "user")


def growth(resource: Resource, per_cycle: float, state: str = "leaking") -> Growth:
    return Growth(resource, state, per_cycle, per_cycle, per_cycle, True, 100, 13)  # type: ignore[arg-type]


def survey(made: dict[Resource, list[SiteCount]], heap: tuple[SiteCount, ...] = (), cycles: int = 10) -> Survey:
    return Survey(cycles, {name: tuple(rows) for name, rows in made.items()}, heap)


def test_a_finding_has_the_users_line_and_the_growth_that_was_measured() -> None:
    rows: dict[Resource, list[SiteCount]] = {"sockets": [SiteCount((LIBRARY, user(50), user(9, "main")), 10, 0)]}
    sockets = growth("sockets", 1.0)
    (found,) = findings.build([sockets], survey(rows), ROOT)
    assert str(found.site) == "server.py:50  serve"
    assert (found.resource, found.per_cycle, found.growth) == ("sockets", 1.0, sockets)
    assert found.stack == (LIBRARY, user(50), user(9, "main"))


def test_lines_of_one_function_are_one_finding_and_two_functions_are_two() -> None:
    rows: dict[Resource, list[SiteCount]] = {
        "listeners": [
            SiteCount((user(10, "open"),), 10, 0),
            SiteCount((user(11, "open"),), 10, 0),
            SiteCount((user(90, "poll"),), 20, 0),
        ]
    }
    found = findings.build([growth("listeners", 4.0)], survey(rows), ROOT)
    assert [(f.per_cycle, [s.line for s in f.sites]) for f in found] == [(2.0, [90]), (2.0, [10, 11])]


def test_steady_state_that_was_renewed_is_not_a_site() -> None:
    rows: dict[Resource, list[SiteCount]] = {
        "timers": [
            SiteCount((user(5, "leak"),), 10, 0),
            SiteCount((user(6, "leak"),), 1, 0),
            SiteCount((user(7, "heartbeat"),), 1, 0),
        ]
    }
    (found,) = findings.build([growth("timers", 1.0)], survey(rows), ROOT)
    assert found.per_cycle == pytest.approx(1.0)
    assert [s.line for s in found.sites] == [5]


def test_resources_from_one_line_are_one_finding_named_after_the_most_telling() -> None:
    stack = (LIBRARY, user(50))
    rows: dict[Resource, list[SiteCount]] = {
        "tasks": [SiteCount(stack, 20, 3000)],
        "timers": [SiteCount(stack, 10, 0)],
        "sockets": [SiteCount(stack, 10, 500)],
    }
    grown = [growth("sockets", 1.0), growth("tasks", 2.0), growth("timers", 1.0), growth("fds", 1.0)]
    grown += [growth("connections", 1.0), growth("heap", 400.0), growth("rss", 9000.0)]
    (found,) = findings.build(grown, survey(rows), ROOT)
    assert found.resource == "connections"
    assert {c.resource: (c.per_cycle, c.how) for c in found.companions} == {
        "sockets": (1.0, "same line"),
        "tasks": (2.0, "same line"),
        "timers": (1.0, "same line"),
        "fds": (1.0, "same rate"),
        "heap": (350.0, "held"),
        "rss": (9000.0, "same rate"),
    }


def test_files_beside_sockets_are_a_finding_of_their_own() -> None:
    rows: dict[Resource, list[SiteCount]] = {"sockets": [SiteCount((user(50),), 10, 0)]}
    found = findings.build([growth("sockets", 1.0), growth("fds", 3.0)], survey(rows), ROOT)
    assert [(f.resource, f.per_cycle, f.site is None) for f in found] == [("sockets", 1.0, False), ("fds", 2.0, True)]


def test_heap_that_nothing_retains_is_a_finding_with_the_lines_that_allocate_it() -> None:
    grown = [growth("timers", 1.0), growth("heap", 5000.0)]
    first = survey({"timers": [SiteCount((user(5, "timer"),), 10, 1000)]})
    assert unexplained.needs_deep_trace(grown, first)
    json_decoder = Frame("/usr/lib/python3.11/json/decoder.py", 353, "", "stdlib")
    deep = survey(
        {},
        (
            SiteCount((json_decoder, user(70, "remember")), 40, 48_000),
            SiteCount((user(5, "timer"),), 10, 200),
            SiteCount((json_decoder,), 10, 9_999),  # steady state of the loop: no line of the user's
            SiteCount((user(99, "once"),), 1, 5_000),
        ),
    )
    timers, heap = findings.build(grown, first, ROOT, deep)
    assert [(c.resource, c.per_cycle) for c in timers.companions] == [("heap", 120.0)]
    assert (heap.per_cycle, [str(s) for s in heap.sites]) == (4880.0, ["server.py:70  remember"])


def test_native_memory_beside_a_leak_is_said_with_it() -> None:
    grown = [growth("threads", 1.0), growth("heap", 5000.0)]
    rows: dict[Resource, list[SiteCount]] = {"threads": [SiteCount((user(5),), 10, 30_000)]}
    (found,) = findings.build(grown, survey(rows), ROOT, survey({}, (SiteCount((user(99, "once"),), 1, 5_000),)))
    assert found.companions == (Companion("heap", 3000.0, "held"), Companion("heap", 2000.0, "same rate"))
    (alone,) = findings.build([growth("heap", 5000.0)], survey({}), ROOT, survey({}))
    assert (alone.resource, alone.site) == ("heap", None)


def test_heap_that_a_finding_retains_is_not_told_twice() -> None:
    rows: dict[Resource, list[SiteCount]] = {"listeners": [SiteCount((user(10),), 40, 30_000)]}
    grown = [growth("listeners", 4.0), growth("heap", 3500.0)]
    assert not unexplained.needs_deep_trace(grown, survey(rows))
    (found,) = findings.build(grown, survey(rows), ROOT)
    assert found.companions == (Companion("heap", 3000.0, "held"),)


def test_without_an_agent_there_are_findings_without_a_line() -> None:
    found = findings.build([growth("sockets", 1.0), growth("fds", 1.0), growth("rss", 40_000.0)], None, ROOT)
    assert [f.resource for f in found] == ["sockets"]
    assert {c.resource for c in found[0].companions} == {"fds", "rss"}
    assert found[0].site is None
    (native,) = findings.build([growth("rss", 40_000.0)], None, ROOT)
    assert (native.resource, native.site) == ("rss", None)
    assert "native" in native.detail


def test_what_does_not_leak_is_no_finding() -> None:
    assert findings.build([growth("timers", 1.0, "clean"), growth("rss", 9e9, "inconclusive")], None, ROOT) == ()


def test_what_one_function_made_on_two_lines_is_one_finding() -> None:
    opened = (user(76, "Adapter.open", "/srv/app/adapter.py"), user(59, "Adapter.connect", "/srv/app/adapter.py"))
    rows: dict[Resource, list[SiteCount]] = {
        "sockets": [SiteCount(opened, 10, 0)],
        "tasks": [SiteCount((user(60, "Adapter.connect", "/srv/app/adapter.py"),), 20, 0)],
    }
    (found,) = findings.build([growth("sockets", 1.0), growth("tasks", 2.0)], survey(rows), ROOT)
    assert (found.resource, [s.line for s in found.sites]) == ("sockets", [60, 76])
    assert found.companions == (Companion("tasks", 2.0, "same function"),)


def test_a_timer_that_a_leaked_task_renews_goes_with_the_task() -> None:
    begun, asleep = user(82, "plant"), user(50, "heartbeat")
    rows: dict[Resource, list[SiteCount]] = {
        "tasks": [SiteCount((begun, user(103, "media")), 10, 0)],
        # Those of the tasks from before the trace window too, of which nobody saw who made them.
        "timers": [SiteCount((asleep,), 96, 0), SiteCount((asleep, begun, user(103, "media")), 10, 0)],
    }
    (found,) = findings.build([growth("tasks", 1.0), growth("timers", 1.0)], survey(rows), ROOT)
    assert (found.resource, [s.line for s in found.sites]) == ("tasks", [82, 50])
    assert found.companions == (Companion("timers", pytest.approx(1.0), "same function"),)  # type: ignore[arg-type]


def test_a_connection_goes_with_the_sockets_that_a_library_has_for_each() -> None:
    rows: dict[Resource, list[SiteCount]] = {
        "sockets": [SiteCount((LIBRARY, user(19)), 30, 0)],
        "threads": [SiteCount((LIBRARY, user(19)), 20, 0), SiteCount((user(22),), 10, 0)],
    }
    grown = [growth("connections", 1.0), growth("sockets", 3.0), growth("threads", 3.0), growth("fds", 4.0)]
    (found,) = findings.build(grown, survey(rows), ROOT)
    assert (found.resource, found.per_cycle, [s.line for s in found.sites]) == ("connections", 1.0, [19, 22])
    assert {c.resource: c.per_cycle for c in found.companions} == {"sockets": 3.0, "threads": 3.0, "fds": 1.0}


def test_what_one_function_made_at_another_pace_is_a_leak_of_its_own() -> None:
    opened = (user(76, "Adapter.open"), user(59, "Adapter.connect"))
    rows: dict[Resource, list[SiteCount]] = {
        "sockets": [SiteCount(opened, 10, 0)],
        "timers": [SiteCount((user(60, "Adapter.connect"),), 13, 0)],
    }
    assert len(findings.build([growth("sockets", 1.0), growth("timers", 1.3)], survey(rows), ROOT)) == 2


def test_what_is_renewed_in_two_places_for_each_leaked_thing_goes_with_it() -> None:
    rows: dict[Resource, list[SiteCount]] = {
        "sockets": [SiteCount((user(8, "refuse"),), 10, 0)],
        "timers": [SiteCount((LIBRARY,), 6, 0), SiteCount((user(3, "serve"),), 4, 0)],
    }
    (found,) = findings.build([growth("sockets", 1.0), growth("timers", 1.0)], survey(rows), ROOT)
    assert found.companions == (Companion("timers", 1.0, "same rate"),)


def test_steady_state_is_left_out_when_the_rest_explains_the_growth() -> None:
    rows: dict[Resource, list[SiteCount]] = {
        "timers": [SiteCount((user(7, "leak"),), 10, 0), SiteCount((user(9, "pool"),), 6, 0)]
    }
    (found,) = findings.build([growth("timers", 1.0)], survey(rows), ROOT)
    assert [s.line for s in found.sites] == [7]


def test_memory_alone_is_named_by_what_retains_it() -> None:
    retainers = (
        Retainer("app.Carts.carts", 1.0, "user"),
        Retainer("cache.entries", 0.3, "user"),
        Retainer("x", 1.0, "library"),
    )
    (found,) = findings.build([growth("objects", 3.0)], Survey(10, retainers=retainers), ROOT)
    assert found.kept_in == ("app.Carts.carts (+1.00 a call)",)


def test_a_text_that_grows_is_named_where_it_grew_and_by_what_retains_it() -> None:
    retainers = (
        Retainer("app.NOTES", 540.0, "user", is_bytes=True),
        Retainer("app.last_words", 15.0, "user", is_bytes=True),  # longer this time than the last
    )
    pieces = (SiteCount((user(7, "note"),), 5400, 5400),)
    deep = Survey(10, heap=(SiteCount((LIBRARY,), 9, 50),), pieces=pieces)
    (found,) = findings.build([growth("heap", 541.0)], Survey(10, retainers=retainers), ROOT, deep)
    assert str(found.site) == "server.py:7  note"
    assert found.kept_in == ("app.NOTES (+540 B a call)",)


def test_a_few_bytes_of_a_library_are_no_reason_to_name_it() -> None:
    deep = Survey(10, heap=(SiteCount((LIBRARY,), 10, 1000),))
    (found,) = findings.build([growth("heap", 816.0)], Survey(10), ROOT, deep)
    assert found.site is None
    (found,) = findings.build([growth("heap", 200.0)], Survey(10), ROOT, deep)
    assert str(found.site) == "websockets/client.py:9  connect"


def test_objects_and_promises_go_with_what_leaks() -> None:
    rows: dict[Resource, list[SiteCount]] = {"timers": [SiteCount((user(7, "leak"),), 10, 0)]}
    growths = [growth("timers", 1.0), growth("promises", 4.0), growth("objects", 20.0)]
    (found,) = findings.build(growths, survey(rows), ROOT)
    assert {c.resource for c in found.companions} == {"promises", "objects"}


def test_pending_promises_alone_are_named_by_their_line() -> None:
    rows: dict[Resource, list[SiteCount]] = {"promises": [SiteCount((user(4, "wait"),), 10, 0)]}
    (found,) = findings.build([growth("promises", 1.0)], survey(rows), ROOT)
    assert (found.resource, str(found.site)) == ("promises", "server.py:4  wait")


def test_findings_come_the_most_telling_first() -> None:
    rows: dict[Resource, list[SiteCount]] = {
        "timers": [SiteCount((user(5, "plant"),), 30, 0)],
        "sockets": [SiteCount((user(9, "open"),), 10, 0)],
    }
    found = findings.build([growth("timers", 3.1), growth("heap", 900.0), growth("sockets", 1.0)], survey(rows), ROOT)
    assert [each.resource for each in found] == ["sockets", "timers"]


def test_what_waits_has_groups_only_where_nothing_but_memory_leaks() -> None:
    rows: dict[Resource, list[SiteCount]] = {
        "timers": [SiteCount((user(5, "plant"),), 10, 0)],
        "promises": [SiteCount((user(4, "wait"),), 10, 0)],
        "async_generators": [SiteCount((user(8, "read"),), 10, 0)],
    }
    waiting = {r: growth(r, 1.0) for r in ("heap", "async_generators", "promises")}
    both = findings.group_survivors(waiting, survey(rows), ROOT)  # type: ignore[arg-type]
    assert [each.resource for each in both] == ["promises", "async_generators"]
    (alone,) = findings.group_survivors({**waiting, "timers": growth("timers", 1.0)}, survey(rows), ROOT)  # type: ignore[dict-item]
    assert alone.resource == "timers"


def test_a_groups_finding_has_its_other_resources_beside_it_and_the_sites_with_most_first() -> None:
    b, a, c, d = (Site(file, line, "f") for file, line in (("b.py", 1), ("a.py", 9), ("c.py", 1), ("c.py", 3)))
    made: dict[Resource, dict[Site, float]] = {
        "sockets": {b: 1.0, d: 1.0},
        "tasks": {a: 1.001, c: 2.0},
        "timers": {d: 0.5},
    }
    group = Group({"tasks": 3.0, "sockets": 1.0, "timers": 0.5}, made, (user(1),), how={"tasks": "same function"})
    grown = {r: growth(r, 4.0) for r in group.counts}
    found = findings.finding_of(group, grown)
    assert (found.resource, found.per_cycle, found.growth) == ("sockets", 1.0, grown["sockets"])
    assert found.companions == (Companion("tasks", 3.0, "same function"), Companion("timers", 0.5, "same line"))
    assert found.sites == (c, d, b, a)  # of two with as many (in hundredths), that of the sockets first


def plain(resource: Resource, per_cycle: float = 1.0) -> Finding:
    return Finding(resource, per_cycle, growth(resource, per_cycle))


RETAINERS = Survey(
    10,
    retainers=(
        Retainer("app.CARTS", 0.8, "user"),
        Retainer("app.rarely", 0.79, "user"),
        Retainer("library.CACHE", 5.0, "library"),
        Retainer("app.NOTES", 200.0, "user", is_bytes=True),
        Retainer("app.last", 199.0, "user", is_bytes=True),
    ),
    types={"app.Cart": 2.0},
)


def test_retainers_are_the_users_that_grew_with_each_call_or_by_a_good_part_of_the_heap() -> None:
    (found,) = findings.name_retainers([plain("heap", 1000.0)], RETAINERS)
    assert found.kept_in == ("app.CARTS (+0.80 a call)", "app.NOTES (+200 B a call)")
    assert found.types == ("app.Cart +2.00",)


def test_a_text_retains_bytes_and_no_things() -> None:
    (found,) = findings.name_retainers([plain("objects")], RETAINERS)
    assert found.kept_in == ("app.CARTS (+0.80 a call)",)


def test_the_only_finding_has_the_retainers_and_no_types_when_it_is_not_of_memory() -> None:
    (found,) = findings.name_retainers([plain("tasks")], RETAINERS)
    assert (found.kept_in, found.types) == (("app.CARTS (+0.80 a call)",), ())


def test_of_several_findings_that_of_memory_has_the_retainers() -> None:
    given = [plain("tasks"), plain("heap", 1000.0)]
    first, second = findings.name_retainers(given, RETAINERS)
    assert first == given[0]
    assert second.kept_in
    given = [plain("tasks"), plain("sockets")]
    assert findings.name_retainers(given, RETAINERS) == given
    assert findings.name_retainers(given[:1], None) == given[:1]


def test_three_retainers_and_four_types_are_named_at_the_most_and_each_once() -> None:
    names = ["app.A", "app.A", "app.B", "app.C", "app.D"]
    many = Survey(10, retainers=tuple(Retainer(n, 1.0, "user") for n in names), types=dict.fromkeys("abcdef", 1.0))
    (found,) = findings.name_retainers([plain("objects")], many)
    assert [each.split()[0] for each in found.kept_in] == ["app.A", "app.B", "app.C"]
    assert [each.split()[0] for each in found.types] == ["a", "b", "c", "d"]


def test_kinds_of_descriptors_are_said_once_with_a_finding_that_has_to_do_with_them() -> None:
    with_files = Finding("tasks", 1.0, growth("tasks", 1.0), companions=(Companion("fds", 1.0, "same rate"),))
    given = [plain("timers"), with_files, plain("sockets")]
    first, second, third = findings.name_kinds(given, "pipes +1.00 a call")
    assert (first, third, second.detail) == (given[0], given[2], "pipes +1.00 a call")
    assert findings.name_kinds(given, "") == given
    assert findings.name_kinds(given[:1], "pipes +1.00 a call") == given[:1]


def test_objects_that_grow_alone_have_the_line_that_allocates_them() -> None:
    deep = survey({}, (SiteCount((user(70, "remember"),), 10, 5000),))
    (found,) = findings.build([growth("objects", 3.0)], survey({}), ROOT, deep)
    assert (found.resource, str(found.site)) == ("objects", "server.py:70  remember")


def test_kinds_of_descriptors_are_said_of_a_run_that_leaks_them() -> None:
    (found,) = findings.build([growth("fds", 1.0)], survey({}), ROOT, kinds="pipes +1.00 a call")
    assert found.detail == "pipes +1.00 a call"
