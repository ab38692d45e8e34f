"""Limits of a load run's statistics; one that is exceeded fails the run: `answer.p95<=800ms`, `call.failed<=1%`."""

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
    r"\s*(?P<name>[^<]+?)\.(?P<statistic>p\d{1,2}(?:\.\d+)?|avg|max|failed)\s*<=\s*(?P<limit>[\d.]+)(?P<unit>ms|s|%)\s*"
)
_STATISTICS: Mapping[str, Callable[[Entry], float]] = {
    "avg": lambda entry: entry.avg_response_time,
    "max": lambda entry: float(entry.max_response_time or 0),
    "failed": lambda entry: 100 * entry.num_failures / max(1, entry.num_requests),
}


@dataclass(frozen=True)
class Threshold:
    """One limit of one statistic."""

    name: str
    """Name of the row of statistics: `answer`, `call`."""
    statistic: str
    """`p95` and the like, `avg`, `max`, or `failed`."""
    limit: float
    """Milliseconds; for `failed`, per cent of the requests."""

    def __str__(self) -> str:
        unit = "%" if self.statistic == "failed" else " ms"
        return f"{self.name}.{self.statistic} <= {self.limit:g}{unit}"

    def measured(self, entry: Entry) -> float:
        """The statistic of a row, in the unit of `limit`."""
        if self.statistic in _STATISTICS:
            return _STATISTICS[self.statistic](entry)
        return float(entry.get_response_time_percentile(float(self.statistic[1:]) / 100))


def parse(text: str) -> Threshold:
    """A threshold from text such as `answer.p95<=800ms`. Raises UsageError."""
    found = _TEXT.fullmatch(text)
    limit = None
    if found is not None and (found["statistic"] == "failed") == (found["unit"] == "%"):
        try:
            limit = float(found["limit"]) * (1000 if found["unit"] == "s" else 1)
        except ValueError:
            limit = None
    if found is None or limit is None:
        raise UsageError(
            "threshold: expected NAME.STATISTIC<=NUMBER with a unit, such as 'answer.p95<=800ms', 'call.max<=30s' "
            f"or 'call.failed<=1%', found {text!r}"
        )
    return Threshold(found["name"], found["statistic"], limit)


def violations(thresholds: tuple[Threshold, ...], entries: Mapping[str, Entry]) -> list[str]:
    """The thresholds that are exceeded, each a sentence; one without any measurement counts as exceeded."""
    found = []
    for threshold in thresholds:
        entry = entries.get(threshold.name)
        if entry is None or not entry.num_requests:
            found.append(f"{threshold}: nothing was measured under that name")
            continue
        measured = threshold.measured(entry)
        if measured > threshold.limit:
            found.append(f"{threshold}: it was {measured:.3g}{'%' if threshold.statistic == 'failed' else ' ms'}")
    return found
