"""Terminal output: the progress of a run, and its result.

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

from leakline.harness.data.model import Growth, Resource, RunResult, Sample
from leakline.harness.data.resources import BYTES, rank
from leakline.harness.data.words import amount, printable
from leakline.harness.judge.compare import Difference
from leakline.reports import blocks
from leakline.reports.blocks import Row, RowKind
from leakline.reports.text import difference_line

_LABEL_WIDTH = 10
_NAME_WIDTH = 13
_MIN_WIDTH = 20
"""Least width of a wrapped line, in columns, however narrow the terminal is."""
_MAX_ROWS = 12
"""The most counters that are shown during a run."""
_BARS = "▁▂▃▄▅▆▇█"
_LABEL_STYLES: Mapping[RowKind, str] = {
    "leaking": "bold red",
    "allowed": "blue",
    "inconclusive": "yellow",
    "clean": "green",
    "not measured": "yellow",
    "calls": "yellow",
    "note": "yellow",
    "run": "dim",
    "report": "dim",
}


class Live:
    """Shows the progress of a run: on a terminal the calls and the counters that rise, elsewhere a line per phase.

    An `Observer` of the harness.
    """

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title
        self._is_animated = console.is_terminal and not console.no_color
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
        if self._is_animated:
            self._screen.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._is_animated:
            self._screen.stop()

    def phase(self, name: str) -> None:
        """Show the phase that begins."""
        self._progress.reset(self._task, total=None, description=f"{self._title}: {name}")
        self._line(f"{self._title}: {name}")

    def calls(self, done: int, total: int) -> None:
        """Advance the progress bar."""
        self._progress.update(self._task, completed=done, total=total)

    def sample(self, sample: Sample) -> None:
        """Add a sample to the counters' sparklines."""
        self._samples.append(sample)

    def suspicion(self, growth: Growth) -> None:
        """Show a growth that looks like a leak so far."""
        grown = amount(growth.resource, growth.per_cycle)
        self._suspicion = f"{growth.resource} grows by {grown} a call since {growth.cycles} calls"
        self._line(f"{self._title}: {self._suspicion}")

    def _line(self, text: str) -> None:
        if not self._is_animated:
            self._console.print(Text(text))

    def _drawn(self) -> Group:
        rows = Table.grid(padding=(0, 2))
        for name, values in _risen(self._samples):
            now, grown = _counted(name, values[-1]), _counted(name, values[-1] - values[0], "+")
            rows.add_row("", Text(name), Text(sparkline(values), "red"), Text(now), Text(grown, "bold"))
        suspicion = [Text(f"  {self._suspicion}", "bold red")] if self._suspicion else []
        return Group(self._progress, *suspicion, rows)


def _counted(resource: Resource, value: float, sign: str = "") -> str:
    return amount(resource, value, sign=bool(sign)) if resource in BYTES else f"{value:{sign},.0f}"


def show_differences(console: Console, differences: Sequence[Difference]) -> None:
    """Print a line for each leak in either of two runs; new and worse ones in red."""
    for each in differences:
        style = "red" if each.is_regression else "green" if each.kind in ("better", "gone") else ""
        console.print(Text(difference_line(each), style), soft_wrap=True)
    if not differences:
        console.print("no leak in either")


def show_reading(
    console: Console, values: Mapping[Resource, float], changes: Sequence[str], notes: Sequence[str]
) -> None:
    """Print a line of the monitor: the time and what the server holds; above it notes and changed alerts."""
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
    """The counters that are higher than in the first sample, with their values."""
    if len(samples) < 2:
        return []
    names = [name for name in samples[0].values if name in samples[-1].values]
    columns = [(name, [s.values[name] for s in samples if name in s.values]) for name in names]
    return [(name, values) for name, values in columns if values[-1] > values[0]][:_MAX_ROWS]


def sparkline(values: Sequence[float], width: int = 32) -> str:
    """Values as a row of bars, the newest last; where there are more than `width`, evenly chosen ones."""
    if not values:
        return ""
    step = max(1.0, len(values) / width)
    chosen = [values[min(len(values) - 1, int((number + 1) * step) - 1)] for number in range(min(width, len(values)))]
    least, most = min(chosen), max(chosen)
    height = (most - least) or 1.0
    return "".join(_BARS[round((value - least) / height * (len(_BARS) - 1))] for value in chosen)


def show(console: Console, result: RunResult, report: str = "") -> None:
    """Print the result of a run. On a terminal, long lines are wrapped with a hanging indent."""
    found = list(blocks.rows(result))
    if report:
        found.append(Row("report", text=report))
    label_width = max(_LABEL_WIDTH, 2 + max((len(row.label) for row in found), default=0))
    console.print()
    console.print(Text.assemble(("leakline", "bold"), " · ", blocks.headline(result)), soft_wrap=True)
    console.print()
    for row in found:
        _show_row(console, row, label_width)
    console.print()


def _show_row(console: Console, row: Row, label_width: int) -> None:
    label = Text.assemble("  ", (row.label.ljust(label_width), _LABEL_STYLES[row.kind]))
    names = "  ".join(row.names)
    if len(row.names) == 1 and row.text:
        label.append(f"{names:<{_NAME_WIDTH - 2}}  ")
        names = ""
    parts = [Text(text, style) for text, style in ((names, ""), (row.text, ""), (row.where, "bold")) if text]
    _print_parts(console, label, parts)
    indent = label.cell_len + (2 if not names and not row.names else 0)
    for detail in row.details:
        _print_parts(console, Text(" " * indent), [Text(detail.line, "cyan" if detail.kind == "source" else "")])


def _print_parts(console: Console, start: Text, parts: Sequence[Text]) -> None:
    """Print `parts` in one line after `start`; where a terminal is too narrow, each part on a line of its own."""
    line = Text("   ").join(parts)
    if not console.is_terminal or start.cell_len + line.cell_len <= console.width:
        console.print(start + line, soft_wrap=True)
        return
    indent = Text(" " * start.cell_len)
    width = max(_MIN_WIDTH, console.width - start.cell_len)
    for number, piece in enumerate(piece for part in parts for piece in part.wrap(console, width)):
        piece.rstrip()
        console.print((indent if number else start) + piece, soft_wrap=True)
