from pathlib import Path

import pytest

from leakline.harness.attribute import findings, unexplained
from leakline.harness.data.model import Frame, Growth, Resource
from leakline.harness.data.survey import Retainer, SiteCount, Survey
from leakline.reports.blocks import companion, finding
from leakline.reports.text import finding_in_full, one_line

ROOT = Path("/srv/app")
LIBRARY = Frame("/venv/lib/python3.11/site-packages/websockets/client.py", 9, "connect", "library")


def user(line: int, function: str = "serve", file: str = "/srv/app/server.py") -> Frame:
    return Frame(file, line, function, "user")


def growth(resource: Resource, per_cycle: float, state: str = "leaking") -> Growth:
    return Growth(resource, state, per_cycle, per_cycle, per_cycle, True, 100, 13)  # type: ignore[arg-type]


def survey(made: dict[Resource, list[SiteCount]], heap: tuple[SiteCount, ...] = (), cycles: int = 10) -> Survey:
    return Survey(cycles, {name: tuple(rows) for name, rows in made.items()}, heap)


def test_a_finding_names_the_users_line_not_the_librarys() -> None:
    rows: dict[Resource, list[SiteCount]] = {"sockets": [SiteCount((LIBRARY, user(50), user(9, "main")), 10, 0)]}
    (found,) = findings.build([growth("sockets", 1.0)], survey(rows), ROOT)
    assert str(found.site) == "server.py:50  serve"
    assert one_line(finding(found)) == "sockets  +1.00 a call (exact, 100 calls)  server.py:50  serve"


def test_a_librarys_line_is_named_when_there_is_no_other_and_shortened() -> None:
    rows: dict[Resource, list[SiteCount]] = {"sockets": [SiteCount((LIBRARY,), 10, 0)]}
    (found,) = findings.build([growth("sockets", 1.0)], survey(rows), ROOT)
    assert str(found.site) == "websockets/client.py:9  connect"


def test_lines_of_one_function_are_one_finding_and_two_functions_are_two() -> None:
    rows: dict[Resource, list[SiteCount]] = {
        "listeners": [
            SiteCount((user(10, "open"),), 10, 0),
            SiteCount((user(11, "open"),), 10, 0),
            SiteCount((user(90, "watch"),), 20, 0),
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


def test_heap_that_nothing_holds_is_a_finding_with_the_lines_that_allocate_it() -> None:
    grown = [growth("timers", 1.0), growth("heap", 5000.0)]
    first = survey({"timers": [SiteCount((user(5, "timer"),), 10, 1000)]})
    assert unexplained.needs_deep_watch(grown, first)
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


def test_memory_whose_freeing_memray_did_not_see_is_no_leak() -> None:
    grown = [growth("sockets", 1.0), growth("heap", 30_000.0)]
    first = survey({"sockets": [SiteCount((user(3, "ask"),), 10, 0)]})
    deep = survey({}, (SiteCount((user(4, "keep"),), 10, 180_000),))
    unseen = SiteCount((user(9, "Codec.__init__"),), 10, 655_360)
    codec, clear = survey({}, (unseen,)), survey({}, (unseen, SiteCount((user(5, "parse"),), 10, 290_000)))
    assert unexplained.needs_native_watch(grown, first, deep)
    assert unexplained.clearest(grown, first, deep, codec) == deep
    chosen = unexplained.clearest(grown, first, deep, clear)
    assert [f.site.function for f in findings.build(grown, first, ROOT, chosen) if f.site] == ["ask", "parse"]


def test_native_memory_beside_a_leak_is_said_with_it() -> None:
    grown = [growth("threads", 1.0), growth("heap", 5000.0)]
    rows: dict[Resource, list[SiteCount]] = {"threads": [SiteCount((user(5),), 10, 30_000)]}
    (found,) = findings.build(grown, survey(rows), ROOT, survey({}, (SiteCount((user(99, "once"),), 1, 5_000),)))
    assert [companion(c) for c in found.companions] == [
        "heap +2.9 KiB a call, retained by it",
        "heap +2.0 KiB a call, in step with it",
    ]
    (alone,) = findings.build([growth("heap", 5000.0)], survey({}), ROOT, survey({}))
    assert (alone.resource, alone.site) == ("heap", None)


def test_heap_that_a_finding_holds_is_not_told_twice() -> None:
    rows: dict[Resource, list[SiteCount]] = {"listeners": [SiteCount((user(10),), 40, 30_000)]}
    grown = [growth("listeners", 4.0), growth("heap", 3500.0)]
    assert not unexplained.needs_deep_watch(grown, survey(rows))
    (found,) = findings.build(grown, survey(rows), ROOT)
    assert [companion(c) for c in found.companions] == ["heap +2.9 KiB a call, retained by it"]


def test_without_an_agent_there_are_findings_without_a_line() -> None:
    found = findings.build([growth("sockets", 1.0), growth("fds", 1.0), growth("rss", 40_000.0)], None, ROOT)
    assert [f.resource for f in found] == ["sockets"]
    assert {c.resource for c in found[0].companions} == {"fds", "rss"}
    assert finding(found[0]).where == "line not known"
    (native,) = findings.build([growth("rss", 40_000.0)], None, ROOT)
    assert (native.resource, native.site) == ("rss", None)
    assert "native" in native.detail


def test_what_does_not_leak_is_no_finding() -> None:
    assert findings.build([growth("timers", 1.0, "clean"), growth("rss", 9e9, "inconclusive")], None, ROOT) == ()


def test_a_finding_in_full_shows_the_line_and_what_comes_with_it(tmp_path: Path) -> None:
    file = tmp_path / "server.py"
    file.write_text("async def serve():\n    model = await connect(url)\n")
    rows: dict[Resource, list[SiteCount]] = {
        "sockets": [SiteCount((Frame(str(file), 2, "", "user"),), 10, 0)],
        "tasks": [SiteCount((Frame(str(file), 2, "", "user"),), 10, 0)],
    }
    (found,) = findings.build([growth("sockets", 1.0), growth("tasks", 1.0)], survey(rows), tmp_path)
    assert finding_in_full(found).splitlines() == [
        "sockets  +1.00 a call (exact, 100 calls)  server.py:2  serve",
        "    2 │ model = await connect(url)",
        "    tasks +1.00 a call, from the same line",
    ]


def test_what_one_function_made_on_two_lines_is_one_finding() -> None:
    opened = (user(76, "Adapter.open", "/srv/app/adapter.py"), user(59, "Adapter.connect", "/srv/app/adapter.py"))
    rows: dict[Resource, list[SiteCount]] = {
        "sockets": [SiteCount(opened, 10, 0)],
        "tasks": [SiteCount((user(60, "Adapter.connect", "/srv/app/adapter.py"),), 20, 0)],
    }
    (found,) = findings.build([growth("sockets", 1.0), growth("tasks", 2.0)], survey(rows), ROOT)
    assert (found.resource, [s.line for s in found.sites]) == ("sockets", [60, 76])
    assert [companion(c) for c in found.companions] == ["tasks +2.00 a call, from the same function"]


def test_a_timer_that_a_leaked_task_renews_goes_with_the_task() -> None:
    begun, asleep = user(82, "plant"), user(50, "heartbeat")
    rows: dict[Resource, list[SiteCount]] = {
        "tasks": [SiteCount((begun, user(103, "media")), 10, 0)],
        # Those of the tasks from before the watch too, of which nobody saw who made them.
        "timers": [SiteCount((asleep,), 96, 0), SiteCount((asleep, begun, user(103, "media")), 10, 0)],
    }
    (found,) = findings.build([growth("tasks", 1.0), growth("timers", 1.0)], survey(rows), ROOT)
    assert (found.resource, [s.line for s in found.sites]) == ("tasks", [82, 50])
    assert [companion(c) for c in found.companions] == ["timers +1.00 a call, from the same function"]


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
    assert [companion(c) for c in found.companions] == ["timers +1.00 a call, in step with it"]


def test_steady_state_is_left_out_when_the_rest_explains_the_growth() -> None:
    rows: dict[Resource, list[SiteCount]] = {
        "timers": [SiteCount((user(7, "leak"),), 10, 0), SiteCount((user(9, "pool"),), 6, 0)]
    }
    (found,) = findings.build([growth("timers", 1.0)], survey(rows), ROOT)
    assert [s.line for s in found.sites] == [7]


def test_memory_alone_is_named_by_what_keeps_it() -> None:
    keepers = (
        Retainer("app.Carts.carts", 1.0, "user"),
        Retainer("cache.entries", 0.3, "user"),
        Retainer("x", 1.0, "library"),
    )
    (found,) = findings.build([growth("objects", 3.0)], Survey(10, retainers=keepers), ROOT)
    assert found.kept_in == ("app.Carts.carts (+1.00 a call)",)
    assert finding_in_full(found).endswith("retained by app.Carts.carts (+1.00 a call)")


def test_a_text_that_grows_is_named_where_it_grew_and_by_what_keeps_it() -> None:
    keepers = (
        Retainer("app.NOTES", 540.0, "user", is_bytes=True),
        Retainer("app.last_words", 15.0, "user", is_bytes=True),  # longer this time than the last
    )
    pieces = (SiteCount((user(7, "note"),), 5400, 5400),)
    deep = Survey(10, heap=(SiteCount((LIBRARY,), 9, 50),), buffers=pieces)
    (found,) = findings.build([growth("heap", 541.0)], Survey(10, retainers=keepers), ROOT, deep)
    assert str(found.site) == "server.py:7  note"
    assert found.kept_in == ("app.NOTES (+540 B a call)",)


def test_a_piece_that_did_not_move_while_few_calls_were_traced_has_the_line_of_the_longer_watch() -> None:
    grown = [growth("heap", 810.0)]
    longer = Survey(10, buffers=(SiteCount((user(7, "note"),), 8000, 8000), SiteCount((user(9, "last"),), 300, 300)))
    deep = unexplained.with_pieces(grown, longer, Survey(5))
    assert deep.allocated_per_cycle == 800.0  # the last words were longer this time, no more
    own = Survey(5, buffers=(SiteCount((user(8, "note"),), 4000, 4000),))
    assert unexplained.with_pieces(grown, longer, own) == own


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


def test_a_nameless_function_is_told_by_the_one_around_it() -> None:
    rows: dict[Resource, list[SiteCount]] = {"timers": [SiteCount((user(7, ""), user(5, "withTimeout")), 10, 0)]}
    (found,) = findings.build([growth("timers", 1.0)], survey(rows), ROOT)
    assert str(found.site) == "server.py:7  withTimeout"
