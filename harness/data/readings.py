"""The readings of a load run: evenly spaced in time and bounded in number, however long the run is."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from leakline.harness.data.model import Resource, Sample

MAX_READINGS = 2048
"""The most readings that are kept of each kind: half an hour of cheap ones, at one a second.

It must be even, so that the newest is kept when every second one is dropped.
"""


@dataclass(frozen=True, slots=True)
class Reading:
    """The values of counters at one moment of a load."""

    at_s: float
    """Seconds since the run began."""
    calls: int
    """Calls made so far."""
    users: int
    """Callers at that moment."""
    values: Mapping[Resource, float]
    is_full: bool
    """Whether all counters were read, or only those that cost the server nothing."""

    @property
    def sample(self) -> Sample:
        """The reading as a sample."""
        return Sample(self.calls, self.at_s, self.values)


class Readings:
    """The readings of one run, oldest first: of full and of cheap ones at most `MAX_READINGS` each, and the newest.

    When there are more, every second one is dropped, and from then on only every second new one is kept.
    """

    def __init__(self) -> None:
        self._full, self._cheap = _Thinned(), _Thinned()

    def add(self, reading: Reading) -> None:
        """Keep the next reading, or drop it."""
        (self._full if reading.is_full else self._cheap).add(reading)

    def __iter__(self) -> Iterator[Reading]:
        return heapq.merge(self._full, self._cheap, key=lambda reading: reading.at_s)


class _Thinned:
    """Readings of one kind: each `_every`-th that was added, and the newest."""

    def __init__(self) -> None:
        self._kept: list[Reading] = []
        self._every = 1
        self._added = 0
        self._newest: Reading | None = None

    def add(self, reading: Reading) -> None:
        is_due = self._added % self._every == 0
        self._added += 1
        self._newest = None if is_due else reading
        if is_due:
            self._kept.append(reading)
        if len(self._kept) > MAX_READINGS:
            del self._kept[1::2]
            self._every *= 2

    def __iter__(self) -> Iterator[Reading]:
        yield from self._kept
        if self._newest is not None:
            yield self._newest
