import io
from types import MappingProxyType

from rich.console import Console

from leakline.harness.data.model import CallStats, Companion, Finding, Growth, Resource, RunResult, Sample, Site
from leakline.reports import terminal

HOSTILE = "\x1b[31mserver\x07\udcff[red].py"


def growth(resource: Resource, state: str = "clean", per_cycle: float = 0.0, note: str = "") -> Growth:
    return Growth(resource, state, per_cycle, per_cycle, per_cycle, False, 96, 13, note)  # type: ignore[arg-type]


def result(**fields: object) -> RunResult:
    given = {
        "sut": "mine",
        "scenario": "question",
        "state": "clean",
        "calls": CallStats(112, 112),
        "seconds": 14.2,
        "growths": (growth("fds"), growth("heap")),
        "findings": (),
        "samples": (),
        "directory": "runs/1",
    }
    return RunResult(**(given | fields))  # type: ignore[arg-type]


def shown(of: RunResult) -> str:
    output = io.StringIO()
    terminal.show(Console(file=output, width=200), of)
    return output.getvalue()


def test_a_clean_run_is_a_few_lines() -> None:
    assert shown(result()).split("\n") == [
        "",
        "leakline · mine · question · 112 calls in 14 s",
        "",
        "  clean     fds  heap",
        "  run       runs/1",
        "",
        "",
    ]


def test_a_finding_says_how_much_where_and_what_comes_with_it() -> None:
    leak = Growth("listeners", "leaking", 4.0, 4.0, 4.0, True, 96, 13)
    site = Site("app.py", 88, "Adapter.connect", "events.on('audio', self.play)")
    finding = Finding("listeners", 4.0, leak, (site, Site("app.py", 90, "")), (Companion("heap", 3174.4, "held"),))
    text = shown(result(state="leaking", findings=(finding,)))
    assert "LEAKING   listeners    +4.00 a call (exact, 96 calls)   app.py:88  Adapter.connect" in text
    assert "88 │ events.on('audio', self.play)" in text
    lines = text.splitlines()
    assert {
        line.index(what) for line in lines for what in ("+4.00", "88 │", "also", "heap +3.1") if what in line
    } == {25}
    assert "also from app.py:90" in text
    assert "heap +3.1 KiB a call, retained by it" in text


def test_doubt_failures_and_what_was_not_measured_are_said() -> None:
    text = shown(
        result(
            state="inconclusive",
            growths=(
                growth("rss", "inconclusive", 20_480.0, "more calls would tell"),
                growth("heap", "clean", 900.0, "grew at first, then stopped: warm-up"),
            ),
            calls=CallStats(100, 97, MappingProxyType({"refused: HTTP 503": 3})),
            unmeasured=MappingProxyType(dict.fromkeys(("timers", "listeners"), "no Python agent in the server")),
            notes=("the agent failed and was detached",),
        )
    )
    assert text.splitlines()[3:] == [
        "  inconclusive  rss          +20.0 KiB a call: more calls would tell",
        "  clean         heap",
        "                heap +900 B a call: grew at first, then stopped: warm-up",
        "  not measured  timers  listeners   no Python agent in the server",
        "  calls         3 of 100 did not go as scripted",
        "                  3 calls: refused: HTTP 503",
        "  note          the agent failed and was detached",
        "  run           runs/1",
        "",
    ]


def test_on_a_narrow_terminal_long_lines_are_broken_below_where_they_begin() -> None:
    output = io.StringIO()
    leak = Growth("listeners", "leaking", 4.0, 4.0, 4.0, True, 96, 13)
    site = Site("app/adapter.py", 88, "Adapter.connect_to_the_model")
    finding = Finding("listeners", 4.0, leak, (site,), kept_in=("app.adapter.Adapter.all_of_them (+4.00 a call)",))
    console = Console(file=output, width=60, force_terminal=True, color_system=None)
    terminal.show(console, result(state="leaking", findings=(finding,)))
    assert output.getvalue().splitlines()[3:-1] == [
        "  LEAKING   listeners    +4.00 a call (exact, 96 calls)",
        "                         app/adapter.py:88",
        "                         Adapter.connect_to_the_model",
        "                         retained by",
        "                         app.adapter.Adapter.all_of_them",
        "                         (+4.00 a call)",
        "  clean     fds  heap",
        "  run       runs/1",
    ]


def test_what_a_server_names_is_shown_as_text() -> None:
    leak = growth("timers", "leaking", 1.0)
    more = (HOSTILE * 1000,)
    finding = Finding("timers", 1.0, leak, (Site(HOSTILE, 1, HOSTILE * 1000, HOSTILE),), kept_in=more, types=more)
    placeless = Finding("timers", 1.0, leak, detail=HOSTILE * 1000)
    text = shown(
        result(
            sut=HOSTILE,
            findings=(finding, placeless),
            allowed=((placeless, HOSTILE * 1000),),
            notes=more,
            directory=HOSTILE,
            calls=CallStats(1, 0, MappingProxyType({HOSTILE: 1})),
        )
    )
    text.encode()  # no half of a surrogate pair is left
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[red].py" in text  # not taken as markup
    assert len(text) < 3000


def test_without_a_terminal_a_run_is_plain_lines() -> None:
    output = io.StringIO()
    with terminal.Live(Console(file=output, width=80), "soak") as live:
        live.phase("calls")
        live.calls(8, 96)
        live.sample(Sample(8, 1.0, {"timers": 1.0}))
        live.sample(Sample(16, 2.0, {"timers": 3.0}))
    assert output.getvalue() == "soak: calls\n"


def test_on_a_terminal_there_is_a_bar_and_the_counters_that_rise() -> None:
    output = io.StringIO()
    with terminal.Live(Console(file=output, width=120, force_terminal=True), "soak") as live:
        live.phase("calls")
        live.sample(Sample(8, 1.0, {"timers": 1.0, "heap": 10.0}))
        live.sample(Sample(16, 2.0, {"timers": 3.0, "heap": 10.0}))
        live.calls(16, 96)
        live.suspicion(growth("timers", "leaking", 0.25))
    text = output.getvalue()
    assert "16/96" in text
    assert "▁█" in text
    assert "+2" in text
    assert "timers grows by 0.25 a call since 96 calls" in text
    assert "heap" not in text  # it has not risen


def test_without_colour_there_are_plain_lines() -> None:
    output = io.StringIO()
    console = Console(file=output, width=120, force_terminal=True, no_color=True)
    with terminal.Live(console, "soak") as live:
        live.phase("calls")
        live.suspicion(growth("timers", "leaking", 0.25))
    assert output.getvalue() == "soak: calls\nsoak: timers grows by 0.25 a call since 96 calls\n"


def test_sparklines_are_no_wider_than_they_may_be() -> None:
    assert terminal.sparkline([1, 2, 3, 8]) == "▁▂▃█"
    assert terminal.sparkline([5, 5]) == "▁▁"
    assert terminal.sparkline([]) == ""
    many = terminal.sparkline(range(1000), width=10)
    assert len(many) == 10
    assert many[-1] == "█"
