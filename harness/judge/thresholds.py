"""Limits of a load run's statistics, which decide its exit code: `answer.p95<=800ms`, `call.failed<=1%`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from leakline.harness.data.errors import UsageError


class Entry(Protocol):
    """A row of Locust's statistics (`locust.stats.StatsEntry`)."""

    num_requests: int
    num_failures: int
    max_response_time: int

    @property
    def avg_response_time(self) -> float:
        """Milliseconds."""

    def get_response_time_percentile(self, percent: float) -> float:
        """Milliseconds; `percent` from 0 to 1."""


_TEXT = re.compile(
    r"\s*(?P<name>[^<]+?)\.(?P<of>p\d{1,2}(?:\.\d+)?|avg|max|failed)\s*<=\s*(?P<most>[\d.]+)(?P<unit>ms|s|%)\s*"
)
_OTHERS: Mapping[str, Callable[[Entry], float]] = {
    "avg": lambda entry: entry.avg_response_time,
    "max": lambda entry: float(entry.max_response_time or 0),
    "failed": lambda entry: 100 * entry.num_failures / max(1, entry.num_requests),
}


@dataclass(frozen=True)
class Threshold:
    """One limit."""

    name: str
    """Of the statistics' row: `answer`, `call`."""
    of: str
    """`p95` and the like, `avg`, `max`, or `failed`."""
    most: float
    """Milliseconds, or per cent of the calls."""

    def __str__(self) -> str:
        unit = "%" if self.of == "failed" else " ms"
        return f"{self.name}.{self.of} <= {self.most:g}{unit}"

    def measured(self, entry: Entry) -> float:
        """The number that the limit is for."""
        if self.of in _OTHERS:
            return _OTHERS[self.of](entry)
        return float(entry.get_response_time_percentile(float(self.of[1:]) / 100))


def parse(text: str) -> Threshold:
    """A limit from text. Raises UsageError."""
    found = _TEXT.fullmatch(text)
    most = None
    if found is not None and (found["of"] == "failed") == (found["unit"] == "%"):
        try:
            most = float(found["most"]) * (1000 if found["unit"] == "s" else 1)
        except ValueError:
            most = None
    if found is None or most is None:
        raise UsageError(
            "threshold: expected NAME.STATISTIC<=NUMBER with a unit, such as 'answer.p95<=800ms', 'call.max<=30s' "
            f"or 'call.failed<=1%', found {text!r}"
        )
    return Threshold(found["name"], found["of"], most)


def broken(thresholds: tuple[Threshold, ...], entries: Mapping[str, Entry]) -> list[str]:
    """What was not kept, in words; a row that is not there is not kept either: nothing shows that it was."""
    said = []
    for threshold in thresholds:
        entry = entries.get(threshold.name)
        if entry is None or not entry.num_requests:
            said.append(f"{threshold}: nothing was measured under that name")
            continue
        measured = threshold.measured(entry)
        if measured > threshold.most:
            said.append(f"{threshold}: it was {measured:.3g}{'%' if threshold.of == 'failed' else ' ms'}")
    return said
