"""The terminal: what happens while a run goes on, and the verdict at its end.

Whatever comes from the server (names, paths, its output) is shown as text, never as markup or control codes.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from harness.model import CallStats, Finding, Growth, RunResult, Sample
from harness.words import amount, printable

_LABEL = 10
_NAME = 13


class Live:
    """Shows a run as it goes: a progress bar on a terminal, a line a phase elsewhere. A harness `Observer`."""

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[counters]}", style="dim", markup=False),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task(title, total=None, counters="")
        self._first: Sample | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._progress.stop()

    def phase(self, name: str) -> None:
        """Show what begins."""
        self._progress.reset(self._task, total=None, description=f"{self._title}: {name}")
        if not self._console.is_terminal:
            self._console.print(Text(f"{self._title}: {name}"))

    def calls(self, done: int, total: int) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=done, total=total)

    def sample(self, sample: Sample) -> None:
        """Show the counters that have risen since the first sample."""
        self._first = self._first or sample
        first = self._first.values
        risen = [
            f"{name} {amount(name, value - first[name], sign=True)}"
            for name, value in sample.values.items()
            if name != "rss" and name in first and value > first[name]
        ]
        self._progress.update(self._task, counters="  ".join(risen))


def show(console: Console, result: RunResult) -> None:
    """Print the verdict of a run: fits a screen."""
    console.print()
    console.print(Text.assemble(("leakline", "bold"), " · ", printable(str(result))))
    console.print()
    for finding in result.findings:
        _show_finding(console, finding)
    for finding, why in result.allowed:
        _row(console, "allowed", "blue", finding.resource, f"{finding.measure}   {printable(why)}")
    for growth in result.growths:
        if growth.state == "inconclusive":
            _row(console, "unsure", "yellow", growth.resource, f"{_rate(growth)}: {growth.note}")
    clean = [g for g in result.growths if g.state == "clean"]
    still = [g.resource for g in clean] + [level.resource for level in result.levels if level.state == "clean"]
    if still:
        _row(console, "clean", "green", "  ".join(still), "")
    for growth in clean:
        if growth.note and growth.per_cycle > 0:
            _row(console, "", "", growth.resource, f"{_rate(growth)}: {growth.note}")
    for reason in sorted(set(result.unmeasured.values())):
        names = "  ".join(name for name, why in result.unmeasured.items() if why == reason)
        _row(console, "unseen", "yellow", names, reason)
    _show_failures(console, result.calls)
    for note in result.notes:
        _row(console, "note", "yellow", "", printable(note))
    _row(console, "run", "dim", result.directory, "")
    console.print()


def _show_finding(console: Console, finding: Finding) -> None:
    where = printable(str(finding.site)) if finding.site is not None else finding.detail or "line not known"
    _row(console, "LEAKING", "bold red", finding.resource, f"{finding.measure}   ", where)
    if finding.site is not None and finding.site.text:
        _row(console, "", "", "", "", f"{finding.site.line} │ {printable(finding.site.text)}", style="cyan")
    for site in finding.sites[1:]:
        _row(console, "", "", "", f"also from {printable(str(site))}")
    for companion in finding.companions:
        _row(console, "", "", "", str(companion))
    if finding.detail and finding.site is not None:
        _row(console, "", "", "", printable(finding.detail))
    for kept in finding.kept_in:
        _row(console, "", "", "", f"kept in {printable(kept)}")
    if finding.types:
        _row(console, "", "", "", printable(f"objects of {', '.join(finding.types)} a call"))


def _show_failures(console: Console, calls: CallStats) -> None:
    if calls.failed:
        text = f"{calls.failed} of {calls.made} did not go as scripted"
        reasons = sorted(calls.failures.items(), key=lambda item: -item[1])[:3]
        text += ": " + ", ".join(f"{printable(reason)} ({number})" for reason, number in reasons)
        _row(console, "calls", "yellow", "", text)


def _rate(growth: Growth) -> str:
    return f"{amount(growth.resource, growth.per_cycle, sign=True)} a call"


def _row(
    console: Console, label: str, label_style: str, name: str, text: str, where: str = "", style: str = "bold"
) -> None:
    line = Text.assemble("  ", (label.ljust(_LABEL), label_style))
    line.append(f"{name:<{_NAME - 2}}  " if text or where else name)
    line.append(text)
    line.append(where, style)
    console.print(line, soft_wrap=True)
