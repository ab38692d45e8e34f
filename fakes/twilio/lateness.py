"""How late the caller's frames were: a histogram that many calls share, of fixed size."""

from __future__ import annotations

_STEP_S = 0.00025
_STEPS = 400


class Lateness:
    """Delays in seconds, counted in steps of 0.25 ms up to 0.1 s; what is later than that is counted as that."""

    def __init__(self) -> None:
        self.counts = [0] * (_STEPS + 1)
        self.longest_s = 0.0
        """The longest."""

    def add(self, seconds: float) -> None:
        """Note one delay; an early one counts as none."""
        step = int(seconds / _STEP_S)
        self.counts[step if 0 <= step < _STEPS else _STEPS if step > 0 else 0] += 1
        if seconds > self.longest_s:
            self.longest_s = seconds

    def include(self, other: Lateness) -> None:
        """Add what another histogram has counted."""
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        self.longest_s = max(self.longest_s, other.longest_s)

    def __len__(self) -> int:
        return sum(self.counts)

    def quantile(self, share: float) -> float:
        """The delay in seconds that `share` of them (0 to 1) do not exceed; 0 when there are none."""
        left = share * len(self)
        for step, count in enumerate(self.counts):
            left -= count
            if left <= 0 and count and step < _STEPS:
                return min(self.longest_s, (step + 1) * _STEP_S)
        return self.longest_s
