"""How late the callers' frames were sent: a histogram of fixed size, shared by all calls."""

from __future__ import annotations

_STEP_S = 0.00025
"""Width of a histogram's bucket, in real seconds."""
_STEPS = 400
"""How many buckets there are, besides the one for everything later."""


class Lateness:
    """A histogram of delays in real seconds: buckets of 0.25 ms up to 0.1 s, and one for longer delays."""

    def __init__(self) -> None:
        self.counts = [0] * (_STEPS + 1)
        self.longest_s = 0.0
        """The longest delay."""

    def add(self, seconds: float) -> None:
        """Count one delay; a negative one counts as zero."""
        step = int(seconds / _STEP_S)
        self.counts[step if 0 <= step < _STEPS else _STEPS if step > 0 else 0] += 1
        if seconds > self.longest_s:
            self.longest_s = seconds

    def include(self, other: Lateness) -> None:
        """Add the counts of another histogram."""
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        self.longest_s = max(self.longest_s, other.longest_s)

    def __len__(self) -> int:
        return sum(self.counts)

    def quantile(self, share: float) -> float:
        """The delay in seconds that a `share` of all delays (0 to 1) does not exceed; 0 without any."""
        left = share * len(self)
        for step, count in enumerate(self.counts):
            left -= count
            if left <= 0 and count and step < _STEPS:
                return min(self.longest_s, (step + 1) * _STEP_S)
        return self.longest_s
