"""A result and its parts as plain text: for pytest, assertion messages and files."""

from __future__ import annotations

from leakline.harness.data.model import Finding, RunResult
from leakline.harness.judge.compare import Difference
from leakline.reports import blocks
from leakline.reports.blocks import Row

_LABEL_WIDTH = 7
_KIND_WIDTH = 6


def in_full(result: RunResult) -> str:
    """The whole result, each row on a line with its details below: the message of a failing test."""
    lines = [blocks.headline(result)]
    lines += [f"{row.label:{_LABEL_WIDTH}}  {row_in_full(row)}" for row in blocks.rows(result)]
    return "\n".join(lines)


def in_short(result: RunResult) -> str:
    """The outcome and the first finding in one line."""
    more = f", and {len(result.findings) - 1} more" if len(result.findings) > 1 else ""
    first = f": {one_line(blocks.finding(result.findings[0]))}{more}" if result.findings else ""
    return f"{result.state}{first} ({blocks.headline(result)})"


def finding_in_full(finding: Finding) -> str:
    """A finding with its details, over several lines."""
    return row_in_full(blocks.finding(finding))


def row_in_full(row: Row) -> str:
    """A row without its label, and its details below."""
    return "\n".join([one_line(row), *(f"    {detail.line}" for detail in row.details)])


def one_line(row: Row) -> str:
    """A row without its label and its details."""
    return "  ".join(part for part in (*row.names, row.text, row.where) if part)


def difference_line(difference: Difference) -> str:
    """One leak in two runs, with the kind of the difference."""
    return f"{difference.kind:{_KIND_WIDTH}}  {blocks.difference(difference)}"
