"""The HTML report, opened in a real Chromium."""

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from leakline.harness.data.model import (
    Allocation,
    CallStats,
    Companion,
    ConnectionRecord,
    Finding,
    Frame,
    Growth,
    RunResult,
    Sample,
    Site,
)
from leakline.harness.data.resources import gauge
from leakline.harness.judge.compare import compare
from leakline.reports.blocks import verdict
from leakline.reports.html import compare_html, html

HOSTILE = "<script>document.title='owned'</script>\x1b[31m\x07\udcff\"'&" + "x" * 10_000


class Opened:
    """A report in a page, and what it did that it should not."""

    def __init__(self, page: Page, text: str, folder: Path) -> None:
        self.page = page
        self.errors: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.errors.append(message.text))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        path = folder / "report.html"
        path.write_text(text, encoding="utf-8")
        page.goto(path.as_uri())
        assert self.requests == [path.as_uri()]


def result(*, samples: int = 13, findings: int = 2, name: str = "server") -> RunResult:
    cycles = [8 * number for number in range(samples)]
    values = [Sample(c, c / 10, {"timers": 4.0 + c, "heap": 5e7 + 1024.0 * c, "tasks": 2.0}) for c in cycles]
    growths = (
        Growth("timers", "leaking", 1.0, 1.0, 1.0, True, cycles[-1], samples),
        Growth("heap", "leaking", 1024.0, 1000.0, 1048.0, False, cycles[-1], samples),
        Growth("tasks", "clean", 0.0, 0.0, 0.0, True, cycles[-1], samples),
    )
    frames = (
        Frame("lib.py", 3, "helper", "library"),
        Frame("app.py", 7, "leak", "user"),
        Frame("a.py", 1, "main", "user"),
    )
    context = tuple((number, f"    line({number})") for number in range(3, 12))
    site = Site("app.py", 7, "leak", "call_later()", context)
    companion = Companion("heap", 1024.0, "held")
    found = tuple(
        Finding("timers", 1.0, growths[0], (site,), (companion,), frames, kept_in=("app.kept (+1.00 a call)",))
        for _ in range(findings)
    )
    seen = tuple(
        ConnectionRecord("realtime", f"CA{n}", n / 2, None if n % 5 == 0 else n / 2 + 1, "closed 1000", n % 7 == 0)
        for n in range(40)
    )
    return RunResult(
        name,
        "question",
        "leaking" if findings else "clean",
        CallStats(96, 95, {"refused": 1}),
        30.0,
        growths,
        found,
        tuple(values),
        notes=("a note",),
        directory="runs/one",
        beside=("memray-native-1.html",),
        allocations=(Allocation(frames, 900.0, 1.0), Allocation(frames[1:], 124.0, 2.0)),
        seen=seen,
        faults={"reset@realtime": 3},
        about={"command": "leakline soak --sut 'a b'", "warmup": "16", "began": "2026-11-24", "leakline": "0.1.0"},
    )


def test_it_opens_without_an_error_or_a_request_and_draws_its_charts(browser: Browser, tmp_path: Path) -> None:
    opened = Opened(browser.new_page(), html(result()), tmp_path)
    page = opened.page
    assert page.locator("h1").inner_text() == "Leaking: timers +1.00 a call in leak, and 1 more"
    chart = page.locator(".card .chart").first
    chart.scroll_into_view_if_needed()
    page.wait_for_selector(".card .chart[data-drawn] canvas")
    inked = "c => new Set(new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer)).size"
    assert page.locator(".card canvas").first.evaluate(inked) > 10  # lines, grid and letters, not an empty sheet
    assert chart.get_attribute("aria-label") == "timers: from 4.00 to 100.00 over 96 calls, +1.00 a call, leaking"
    assert page.locator("pre .at").first.inner_text().strip().startswith("7")
    assert page.locator("svg .open").count() == 8
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator(".chart[data-drawn]").count() == page.locator(".chart").count()
    assert page.get_by_role("link").get_attribute("href") == "memray-native-1.html"
    assert opened.errors == []
    assert len(opened.requests) == 1


def test_findings_are_reached_by_the_keyboard(browser: Browser, tmp_path: Path) -> None:
    page = Opened(browser.new_page(), html(result()), tmp_path).page
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.getAttribute('aria-labelledby')"))
    assert {"finding-1", "finding-2"} <= set(reached)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_to_object_to(browser: Browser, tmp_path: Path, scheme: str) -> None:
    page = browser.new_page(color_scheme=scheme)  # type: ignore[arg-type]
    page = Opened(page, html(result()), tmp_path).page
    # axe is put in by the test's own hand, past the page's policy.
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_hostile_names_are_text(browser: Browser, tmp_path: Path) -> None:
    growth = Growth(gauge(HOSTILE), "leaking", 1.0, 1.0, 1.0, True, 96, 13)
    site = Site(HOSTILE, 7, HOSTILE, HOSTILE, ((7, HOSTILE),))
    frames = (Frame(HOSTILE, 7, HOSTILE, "user"),)
    finding = Finding(growth.resource, 1.0, growth, (site,), (), frames, HOSTILE, (HOSTILE,), (HOSTILE,))
    bad = RunResult(
        HOSTILE, HOSTILE, "leaking", CallStats(9, 8, {HOSTILE: 1}), 3.0, (growth,), (finding,),
        tuple(Sample(n, 0.0, {growth.resource: float(n)}) for n in range(9)),
        allowed=((finding, HOSTILE),), unmeasured={"heap": HOSTILE}, notes=(HOSTILE,), directory=HOSTILE,
        allocations=(Allocation(frames, 9.0, 1.0),),
        seen=(ConnectionRecord(HOSTILE, HOSTILE, 0.0, None, HOSTILE, False),),
        faults={HOSTILE: 1}, about={"command": HOSTILE, HOSTILE: HOSTILE},
    )  # fmt: skip
    text = html(bad)
    text.encode()  # no half of a surrogate pair is left
    assert len(text) < 200_000
    opened = Opened(browser.new_page(), text, tmp_path)
    assert opened.page.title().startswith("leakline: <script>")
    assert opened.page.locator("script").count() == 3
    assert "\x1b" not in text
    assert opened.errors == []
    both = compare_html(bad, bad, compare(bad, bad))
    assert Opened(browser.new_page(), both, tmp_path).page.locator("script").count() == 3


def test_two_runs_are_laid_over_each_other(browser: Browser, tmp_path: Path) -> None:
    before, after = result(findings=0), result()
    opened = Opened(browser.new_page(), compare_html(before, after, compare(before, after)), tmp_path)
    assert opened.page.locator("h1").inner_text() == "2 new or worse"
    opened.page.wait_for_selector(".chart[data-drawn] canvas")
    assert opened.errors == []
    assert Axe().run(opened.page).violations_count == 0


def test_a_big_run_opens(browser: Browser, tmp_path: Path) -> None:
    opened = Opened(browser.new_page(), html(result(samples=10_000, findings=50)), tmp_path)
    opened.page.wait_for_selector(".chart[data-drawn] canvas")
    assert opened.page.locator(".card").count() == 50
    assert opened.errors == []


def test_the_verdict_in_one_sentence() -> None:
    assert verdict(result(findings=0)) == "Clean: nothing grows with the calls"
    assert verdict(result(findings=1)) == "Leaking: timers +1.00 a call in leak"
