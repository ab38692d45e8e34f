"""The wording of a finding and of a result, each kind of row and of detail on its own, and in every output alike."""

import html
import io
import re
from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType

import pytest
from rich.console import Console

from leakline.harness.data.model import (
    CallStats,
    Companion,
    Finding,
    Growth,
    How,
    InProcess,
    Level,
    Resource,
    RunResult,
    Site,
    State,
)
from leakline.harness.data.resources import gauge
from leakline.reports import blocks, terminal
from leakline.reports.blocks import Detail, Place, Row
from leakline.reports.ci import FORMATS
from leakline.reports.text import in_full, in_short

HOSTILE = "\x1b[31mserver\x07\udcff\nsecond"
CLEAN = CallStats(96, 96)


def growth(resource: Resource = "listeners", state: State = "leaking", rate: float = 5.0, note: str = "") -> Growth:
    return Growth(resource, state, rate, rate, rate, True, 96, 13, note)


EVERYTHING = Finding(
    "listeners",
    5.0,
    growth(),
    (Site("bridge.py", 138, "Session.listen", "emitter.on(name, listener)"), Site("adapter.py", 90, "connect")),
    (Companion("heap", 39_000.0, "held"), Companion("rss", 48_000.0, "in all")),
    detail="socket ESTABLISHED to 127.0.0.1:38065 +1.00 a call",
    kept_in=("Emitter.listeners (+5.00 a call)",),
    types=("Session +1.00", "dict +3.00"),
    processes=(InProcess(4711, 480.0), InProcess(4712, 0.0)),
)


def result(*findings: Finding, state: State = "leaking", calls: CallStats = CLEAN) -> RunResult:
    return RunResult("grill", "two_burgers", state, calls, 12.4, (), findings, ())


def details(finding: Finding) -> list[Detail]:
    return [*blocks.finding(finding).details]


def test_a_finding_is_a_row_with_its_growth_its_place_and_a_detail_for_each_thing_more() -> None:
    assert blocks.finding(EVERYTHING) == Row(
        "leaking",
        ("listeners",),
        "+5.00 a call (exact, 96 calls)",
        "bridge.py:138  Session.listen",
        (Place("bridge.py", 138, "Session.listen"), Place("adapter.py", 90, "connect")),
        (
            Detail("source", "138 │", "emitter.on(name, listener)"),
            Detail("site", "also from", "adapter.py:90  connect"),
            Detail("companion", "heap +38.1 KiB a call, retained by it"),
            Detail("companion", "rss +46.9 KiB a call, process total"),
            Detail("detail", "socket ESTABLISHED to 127.0.0.1:38065 +1.00 a call"),
            Detail("processes", "of 2 processes: +480 in pid 4711, +0 in pid 4712"),
            Detail("retainer", "retained by", "Emitter.listeners (+5.00 a call)"),
            Detail("types", "objects a call:", "Session +1.00, dict +3.00"),
        ),
    )


def test_a_finding_without_a_line_says_what_else_is_known_once() -> None:
    row = blocks.finding(replace(EVERYTHING, sites=()))
    assert (row.where, row.places) == (EVERYTHING.detail, ())
    assert EVERYTHING.detail not in [each.line for each in row.details]
    assert blocks.finding(Finding("rss", 5.0, growth("rss"))) == Row(
        "leaking", ("rss",), "+5 B a call (exact, 96 calls)", "line not known"
    )


def test_a_part_of_a_growth_has_its_share_of_the_interval() -> None:
    whole = Growth("heap", "leaking", 4096.0, 3072.0, 5120.0, False, 1_000, 13)
    assert blocks.measure(Finding("heap", 2048.0, whole)) == "+2.0 KiB a call (1.5 KiB to 2.5 KiB, 1,000 calls)"


def test_a_level_is_said_by_what_was_measured() -> None:
    level = Level("wakeups", "leaking", 2_000.0, 1_800.0, "2,000 a minute while idle; 1,800 is the limit")
    finding = Finding("wakeups", 2_000.0, level)
    assert blocks.finding(finding).text == level.text
    assert blocks.verdict(result(finding)) == f"Leaking: wakeups {level.text}"


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("held", "retained by it"),
        ("same line", "from the same line"),
        ("same function", "from the same function"),
        ("same rate", "in step with it"),
        ("in all", "process total"),
    ],
)
def test_a_companion_says_what_makes_it_the_same_leak(how: How, words: str) -> None:
    assert blocks.companion(Companion("timers", 2.0, how)) == f"timers +2.00 a call, {words}"


def test_of_many_processes_the_first_are_named_and_the_rest_counted() -> None:
    finding = Finding("heap", 5.0, growth("heap"), processes=tuple(InProcess(pid, 2048.0) for pid in range(1, 7)))
    each = ", ".join(f"+2.0 KiB in pid {pid}" for pid in range(1, 5))
    assert details(finding) == [Detail("processes", f"of 6 processes: {each}, and 2 more")]


def test_a_result_has_its_rows_in_the_order_in_which_they_are_read() -> None:
    of_all = replace(
        result(EVERYTHING, calls=CallStats(100, 97, MappingProxyType({"no answer": 1, "HTTP 503": 2}))),
        growths=(
            growth(),
            growth("rss", "inconclusive", 20_480.0, "more calls would tell"),
            growth("fds", "clean", 0.0),
            growth("heap", "clean", 900.0, "grew at first, then stopped"),
        ),
        levels=(
            Level("wakeups", "clean", 12.0, 1_800.0, "12 a minute"),
            Level("peak_heap", "inconclusive", 1.0, 2.0, "one call alone was measured"),
        ),
        allowed=((Finding("timers", 5.0, growth("timers"), (Site("a.py", 1, "f"),)), "TICKET-12"),),
        unmeasured=MappingProxyType({"tasks": "no agent", "handles": "not a Node server", "threads": "no agent"}),
        notes=("one line", "two\nlines"),
        directory="runs/1",
    )
    assert blocks.rows(of_all) == (
        blocks.finding(EVERYTHING),
        Row(
            "allowed",
            ("timers",),
            "+5.00 a call (exact, 96 calls)",
            "a.py:1  f",
            (Place("a.py", 1, "f"),),
            (Detail("reason", "TICKET-12"),),
        ),
        Row("inconclusive", ("rss",), "+20.0 KiB a call: more calls would tell"),
        Row("inconclusive", ("peak_heap",), "one call alone was measured"),
        Row(
            "clean",
            ("fds", "heap", "wakeups"),
            details=(Detail("bounded", "heap +900 B a call: grew at first, then stopped"),),
        ),
        Row("not measured", ("tasks", "threads"), "no agent"),
        Row("not measured", ("handles",), "not a Node server"),
        Row(
            "calls",
            text="3 of 100 did not go as scripted",
            details=(Detail("failure", "2 calls: HTTP 503"), Detail("failure", "1 call: no answer")),
        ),
        Row("note", text="one line"),
        Row("note", text="two", details=(Detail("more", "lines"),)),
        Row("run", text="runs/1"),
    )
    assert [row.kind for row in blocks.reasons(of_all)] == ["inconclusive", "inconclusive", "calls", "note", "note"]


def test_of_many_reasons_why_calls_failed_the_most_frequent_are_told() -> None:
    calls = CallStats(100, 0, MappingProxyType({f"reason {number}": number for number in range(1, 8)}))
    (row,) = blocks.rows(result(state="inconclusive", calls=calls))
    assert [each.line for each in row.details] == [
        *(f"{number} calls: reason {number}" for number in (7, 6, 5, 4, 3)),
        "and 2 more reasons",
    ]


def test_a_clean_result_that_has_no_folder_has_no_rows_but_what_is_clean() -> None:
    assert blocks.rows(result(state="clean")) == ()


def test_the_outcome_in_one_sentence_and_in_one_line() -> None:
    assert blocks.verdict(result(state="clean")) == "Clean: nothing grows with the calls"
    assert blocks.verdict(result(state="inconclusive")) == "Inconclusive: whether it leaks cannot be told"
    both = result(EVERYTHING, EVERYTHING)
    assert blocks.verdict(both) == "Leaking: listeners +5.00 a call in Session.listen, and 1 more"
    assert in_short(both) == (
        "leaking: listeners  +5.00 a call (exact, 96 calls)  bridge.py:138  Session.listen, and 1 more "
        "(grill · two_burgers · 96 calls in 12 s)"
    )


def test_whatever_a_server_names_is_made_printable() -> None:
    name = gauge(HOSTILE)
    long = HOSTILE * 1_000
    site = Site(HOSTILE, 1, long, long)
    bad = Finding(name, 5.0, growth(name), (site, site), (Companion(name, 1.0, "held"),), (), long, (long,), (long,))
    of_all = replace(
        result(bad, replace(bad, sites=()), calls=CallStats(9, 8, MappingProxyType({long: 1}))),
        sut=long,
        scenario=long,
        growths=(growth(name, "inconclusive", 1.0, long), growth(name, "clean", 1.0, long)),
        levels=(Level(name, "inconclusive", 1.0, 1.0, long),),
        allowed=((bad, long),),
        unmeasured=MappingProxyType({name: long}),
        notes=(long,),
        directory=long,
    )
    lines = [blocks.headline(of_all), blocks.verdict(of_all)]
    for row in blocks.rows(of_all):
        lines += [*row.names, row.text, row.where, *(each.line for each in row.details)]
        lines += [text for place in row.places for text in (place.file, place.function)]
    assert all(line.isprintable() for line in lines)
    assert max(map(len, lines)) <= 1_001
    "".join(lines).encode()  # no half of a surrogate pair is left


def shown(of: RunResult, width: int = 200, *, is_terminal: bool = False) -> str:
    output = io.StringIO()
    terminal.show(Console(file=output, width=width, force_terminal=is_terminal, color_system=None), of)
    return output.getvalue()


def words(text: str) -> str:
    """What a reader sees of an output: no markup of HTML, XML, JSON or Markdown, and one blank in place of many."""
    text = re.sub(r"<(style|script).*?</\1>", " ", text, flags=re.DOTALL)
    text = re.sub(r'<[^>]*message="([^"]*)"[^>]*>', r" \1 ", text)  # JUnit's attribute, which its readers show
    text = re.sub(r"\\u([0-9a-f]{4})", lambda match: chr(int(match[1], 16)), text).replace("\\n", " ")
    text = html.unescape(re.sub(r"<[^>]*>", " ", text)).replace("\\", "").replace("%0A", " ")
    return re.sub(r"\s+", " ", text)


OUTPUTS: dict[str, Callable[[RunResult], str]] = {
    **{name: render for name, render in FORMATS.items() if name not in ("json", "csv")},
    "terminal": shown,
    "narrow terminal": lambda of: shown(of, 80, is_terminal=True),
    "assertion": in_full,
}
"""All but the two of numbers."""


@pytest.mark.parametrize("name", OUTPUTS)
def test_every_output_says_the_same_of_a_finding(name: str) -> None:
    text = words(OUTPUTS[name](replace(result(EVERYTHING), growths=(growth(),))))
    row = blocks.finding(EVERYTHING)
    missing = [
        part for part in (row.text, row.where, *(each.line for each in row.details)) if words(part) not in text
    ]
    assert not missing, text


@pytest.mark.parametrize("name", OUTPUTS)
def test_every_output_says_that_and_why_a_run_is_inconclusive(name: str) -> None:
    calls = CallStats(96, 56, MappingProxyType({"no answer": 40}))
    of = replace(
        result(state="inconclusive", calls=calls),
        growths=(growth("rss", "inconclusive", 20_480.0, "more calls would tell"),),
        notes=("too many calls did not go as scripted",),
    )
    text = words(OUTPUTS[name](of))
    reasons = ("+20.0 KiB a call: more calls would tell", "40 of 96", "40 calls: no answer", *of.notes)
    assert [part for part in ("nconclusive", *reasons) if part not in text] == []
