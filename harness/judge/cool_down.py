"""Whether what grew goes away by itself once the calls are over: what does is bounded by time, and no leak.

A Sans-I/O rule with time as an argument: it is shown the counters as often as they are read, and says when to stop.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from leakline.harness.data.model import MEMORY, Growth, Resource

MOST_EXTENSIONS = 4
"""How many times its length a cool-down is prolonged at most while there is less and less of what is waited for: a
library may give up a connection after ten seconds, each at its own time."""

MOST_LEFT = 0.2
"""Part of what a resource grew by that may be left after the cool-down for it to count as gone."""

MOST_BACK = 0.6
"""Part of it that one more batch of calls may bring back: an idle server lets go of more than what leaks."""

MIN_PROGRESS = 0.05
"""Part of what memory grew by that it must fall by for the wait to be prolonged: less may be noise."""


def may_be_left(growth: Growth, floor: float, part: float = MOST_LEFT) -> float:
    """How much more than at first there may be of a resource, in its unit, for its growth to count as gone.

    Of what grew that is a `part` of it. Of what is only noisy, with a slope at or below the `floor`, it is what the
    floor allows in so many calls.
    """
    per_cycle = part * growth.per_cycle if growth.per_cycle > floor else floor
    return per_cycle * growth.cycles


def progress(growth: Growth) -> float:
    """By how much a resource must fall for the wait for it to be prolonged: one thing, or a part of memory's growth.

    Memory that has not grown prolongs nothing: infinite.
    """
    if growth.resource not in MEMORY:
        return 1.0
    return MIN_PROGRESS * growth.per_cycle * growth.cycles if growth.per_cycle > 0 else math.inf


class CoolDown:
    """One wait.

    Args:
        gone_at: {resource: what there may be of it for it to count as gone}.
        now: seconds, on the clock that `observe` is given.
        length_s: how long is waited.
        progress: {resource: by how much it must have fallen below its lowest so far for the wait to be prolonged};
            what is not in it prolongs nothing.
    """

    def __init__(
        self,
        gone_at: Mapping[Resource, float],
        *,
        now: float,
        length_s: float,
        progress: Mapping[Resource, float] | None = None,
    ) -> None:
        self.gone: dict[Resource, float] = {}
        """{resource: seconds after which it was gone}, of what is gone now."""
        self._gone_at = dict(gone_at)
        self._began = now
        self._length_s = length_s
        self._until = now + length_s
        self._progress = dict(progress or {})
        self._lowest = dict.fromkeys(self._progress, math.inf)

    def is_over(self, now: float) -> bool:
        """Whether all is gone, or the time is up."""
        return len(self.gone) == len(self._gone_at) or now >= self._until

    def observe(self, now: float, values: Mapping[Resource, float]) -> None:
        """Take note of the counters as they are; what is not among them is not gone."""
        for resource, most in self._gone_at.items():
            if values.get(resource, math.inf) <= most:
                self.gone.setdefault(resource, now - self._began)
            else:
                self.gone.pop(resource, None)  # it has come again
        for resource, step in self._progress.items():
            value = values.get(resource, math.inf)
            if value <= self._lowest[resource] - step:
                if math.isfinite(self._lowest[resource]):
                    latest = self._began + MOST_EXTENSIONS * self._length_s
                    self._until = min(now, latest) + self._length_s
                self._lowest[resource] = value
