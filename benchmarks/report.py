"""How long a big report takes to make and to open: `python benchmarks/report.py`. Needs Chromium."""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from leakline.harness.data.model import CallStats, Finding, Growth, RunResult, Sample, Site
from leakline.harness.data.resources import RESOURCES
from leakline.reports.html import html

SIZES = ((13, 2), (1_000, 10), (10_000, 50))
TIMES = 5
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def result(samples: int, findings: int) -> RunResult:
    cycles = [8 * number for number in range(samples)]
    growths = tuple(Growth(r, "leaking", 1.0, 0.9, 1.1, False, cycles[-1], samples) for r in RESOURCES[:15])
    context = tuple((n, f"    line_{n}()") for n in range(3, 12))
    found = tuple(
        Finding(g.resource, 1.0, g, (Site("app.py", 7, f"leak_{n}", "leak()", context),))
        for n in range(findings)
        for g in (growths[n % len(growths)],)
    )
    rows = tuple(Sample(c, float(c), {g.resource: 100.0 + c for g in growths}) for c in cycles)
    return RunResult("app", "question", "leaking", CallStats(cycles[-1]), 9.0, growths, found, rows)


def main() -> None:
    """Run and print."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    print(f"{platform.machine()}, {os.cpu_count()} cores\n")
    print("| samples | findings | page | made in | opened, first chart drawn |\n|---|---|---|---|---|")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        for samples, findings in SIZES:
            given = result(samples, findings)
            began = time.perf_counter()
            text = html(given)
            made = time.perf_counter() - began
            path = Path(folder) / "report.html"
            path.write_text(text, encoding="utf-8")
            opened = []
            for _ in range(TIMES):
                page = browser.new_page()
                began = time.perf_counter()
                page.goto(path.as_uri())
                page.wait_for_selector(".chart[data-drawn] canvas")
                opened.append(time.perf_counter() - began)
                page.close()
            size = f"{len(text) / 1e6:.1f} MB"
            print(
                f"| {samples:,} | {findings} | {size} | {made:.2f} s | {statistics.median(opened):.2f} s |",
                flush=True,
            )
        browser.close()


if __name__ == "__main__":
    main()
