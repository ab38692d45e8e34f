"""The readings of a load run, however long it is: evenly spaced in time, and never more than some thousands."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from leakline.harness.data.model import Resource, Sample

MOST = 2048
"""Of each kind: half an hour of cheap readings, one a second.

It is even: the newest stays when every second one goes.
"""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the counters were while callers called."""

    at_s: float
    """Seconds since the run began."""
    calls: int
    """Made so far."""
    users: int
    """Callers that there were."""
    values: Mapping[Resource, float]
    is_full: bool
    """All counters, or what costs nothing alone."""

    @property
    def sample(self) -> Sample:
        """The same, as the verdict takes it."""
        return Sample(self.calls, self.at_s, self.values)


class Readings:
    """Those of one run, oldest first: of either kind some `MOST` at the most, and the newest always.

    When there are more, every second one goes, and from then on half as many are kept.
    """

    def __init__(self) -> None:
        self._full, self._cheap = _Even(), _Even()

    def add(self, reading: Reading) -> None:
        """The next one."""
        (self._full if reading.is_full else self._cheap).add(reading)

    def __iter__(self) -> Iterator[Reading]:
        return heapq.merge(self._full, self._cheap, key=lambda reading: reading.at_s)


class _Even:
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
        if len(self._kept) > MOST:
            del self._kept[1::2]
            self._every *= 2

    def __iter__(self) -> Iterator[Reading]:
        yield from self._kept
        if self._newest is not None:
            yield self._newest
