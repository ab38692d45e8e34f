"""The terminal: what happens while a run goes on, and the verdict at its end.

Whatever comes from the server (names, paths, its output) is shown as text, never as markup or control codes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Self

import rich.live
from rich.console import Console, Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from leakline.harness.data.model import CallStats, Finding, Growth, Resource, RunResult, Sample
from leakline.harness.data.resources import BYTES, rank
from leakline.harness.data.words import amount, printable

_LABEL = 10
_NAME = 13
_MOST_ROWS = 12
_BARS = "▁▂▃▄▅▆▇█"


class Live:
    """Shows a run as it goes: on a terminal the calls and the counters that rise, elsewhere a line a phase.

    A harness `Observer`.
    """

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title
        self._moves = console.is_terminal and not console.no_color
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._task = self._progress.add_task(title, total=None)
        self._samples: list[Sample] = []
        self._suspicion = ""
        self._screen = rich.live.Live(
            console=console, transient=True, get_renderable=self._drawn, refresh_per_second=4
        )

    def __enter__(self) -> Self:
        if self._moves:
            self._screen.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._moves:
            self._screen.stop()

    def phase(self, name: str) -> None:
        """Show what begins."""
        self._progress.reset(self._task, total=None, description=f"{self._title}: {name}")
        self._line(f"{self._title}: {name}")

    def calls(self, done: int, total: int) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=done, total=total)

    def sample(self, sample: Sample) -> None:
        """Draw it."""
        self._samples.append(sample)

    def suspicion(self, growth: Growth) -> None:
        """Say what looks like a leak."""
        self._suspicion = f"{growth.resource} grows by {_rate(growth)[1:]} since {growth.cycles} calls"
        self._line(f"{self._title}: {self._suspicion}")

    def _line(self, text: str) -> None:
        if not self._moves:
            self._console.print(Text(text))

    def _drawn(self) -> Group:
        rows = Table.grid(padding=(0, 2))
        for name, values in _risen(self._samples):
            now, grown = _counted(name, values[-1]), _counted(name, values[-1] - values[0], "+")
            rows.add_row("", Text(name), Text(sparkline(values), "red"), Text(now), Text(grown, "bold"))
        said = [Text(f"  {self._suspicion}", "bold red")] if self._suspicion else []
        return Group(self._progress, *said, rows)


def _counted(resource: Resource, value: float, sign: str = "") -> str:
    return amount(resource, value, sign=bool(sign)) if resource in BYTES else f"{value:{sign},.0f}"


def show_look(
    console: Console, values: Mapping[Resource, float], changes: Sequence[str], notes: Sequence[str]
) -> None:
    """A line of a watch: the time and what the server holds; above it what has changed."""
    now = f"{datetime.now().astimezone():%H:%M:%S}"
    for note in notes:
        console.print(Text(f"{now}  note   {printable(note)}", "yellow"), soft_wrap=True)
    for change in changes:
        console.print(
            Text(f"{now}  {printable(change, most=300)}", "bold red" if change.startswith("ALERT") else "green"),
            soft_wrap=True,
        )
    held = "  ".join(f"{name} {_counted(name, values[name])}" for name in sorted(values, key=rank))
    console.print(Text(f"{now}  {printable(held, most=400)}", "dim"), soft_wrap=True)


def _risen(samples: Sequence[Sample]) -> list[tuple[Resource, list[float]]]:
    """The counters that are higher than at first, with their values."""
    if len(samples) < 2:
        return []
    names = [name for name in samples[0].values if name in samples[-1].values]
    columns = [(name, [s.values[name] for s in samples if name in s.values]) for name in names]
    return [(name, values) for name, values in columns if values[-1] > values[0]][:_MOST_ROWS]


def sparkline(values: Sequence[float], width: int = 32) -> str:
    """Values as a row of bars, the newest last; older ones are left out evenly when there are more than `width`."""
    if not values:
        return ""
    step = max(1.0, len(values) / width)
    chosen = [values[min(len(values) - 1, int((number + 1) * step) - 1)] for number in range(min(width, len(values)))]
    least, most = min(chosen), max(chosen)
    height = (most - least) or 1.0
    return "".join(_BARS[round((value - least) / height * (len(_BARS) - 1))] for value in chosen)


def show(console: Console, result: RunResult, report: str = "") -> None:
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
    _row(console, "run", "dim", printable(result.directory), "")
    if report:
        _row(console, "report", "dim", report, "")
    console.print()


def _show_finding(console: Console, finding: Finding) -> None:
    where = (
        printable(str(finding.site)) if finding.site is not None else printable(finding.detail or "line not known")
    )
    _row(console, "LEAKING", "bold red", finding.resource, f"{finding.measure}   ", where)
    if finding.site is not None and finding.site.text:
        _row(console, "", "", "", "", f"{finding.site.line} │ {printable(finding.site.text)}", style="cyan")
    for site in finding.sites[1:]:
        _row(console, "", "", "", f"also from {printable(str(site))}")
    for companion in finding.companions:
        _row(console, "", "", "", str(companion))
    if finding.detail and finding.site is not None:
        _row(console, "", "", "", printable(finding.detail))
    if finding.processes:
        _row(console, "", "", "", finding.by_process)
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
