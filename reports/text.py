"""A result and its parts as plain text: for pytest, for an assertion's message, and for files."""

from __future__ import annotations

from leakline.harness.data.model import Finding, RunResult
from leakline.harness.judge.compare import Difference
from leakline.reports import blocks
from leakline.reports.blocks import Row

_LABEL = 7
_KIND = 6


def in_full(result: RunResult) -> str:
    """All that a run found out, a row a line and its details below, as a failing test's message."""
    lines = [blocks.headline(result)]
    lines += [f"{row.label:{_LABEL}}  {row_in_full(row)}" for row in blocks.rows(result)]
    return "\n".join(lines)


def in_short(result: RunResult) -> str:
    """The outcome and the first finding in one line."""
    more = f", and {len(result.findings) - 1} more" if len(result.findings) > 1 else ""
    first = f": {one_line(blocks.finding(result.findings[0]))}{more}" if result.findings else ""
    return f"{result.state}{first} ({blocks.headline(result)})"


def finding_in_full(finding: Finding) -> str:
    """A finding over several lines."""
    return row_in_full(blocks.finding(finding))


def row_in_full(row: Row) -> str:
    """A row, and below it its details, without its label."""
    return "\n".join([one_line(row), *(f"    {detail.line}" for detail in row.details)])


def one_line(row: Row) -> str:
    """A row without its label and its details."""
    return "  ".join(part for part in (*row.names, row.text, row.where) if part)


def difference_line(difference: Difference) -> str:
    """One leak in two runs."""
    return f"{difference.kind:{_KIND}}  {blocks.difference(difference)}"
