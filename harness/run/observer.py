"""The interface by which a run reports its progress."""

from __future__ import annotations

from typing import Protocol

from leakline.harness.data.model import Growth, Sample


class Observer(Protocol):
    """Receives the progress of a run, to show it to a person."""

    def phase(self, name: str) -> None:
        """A new part of the run begins; `name` is what it is, in a few words."""

    def calls(self, done: int, total: int) -> None:
        """So many of the phase's calls have been made."""

    def sample(self, sample: Sample) -> None:
        """A sample that counts has been taken."""

    def suspicion(self, growth: Growth) -> None:
        """For the first time a resource seems to leak; whether it does is judged at the end."""


class Silent:
    """An observer that ignores all of it."""

    def phase(self, name: str) -> None:
        """Ignore it."""

    def calls(self, done: int, total: int) -> None:
        """Ignore it."""

    def sample(self, sample: Sample) -> None:
        """Ignore it."""

    def suspicion(self, growth: Growth) -> None:
        """Ignore it."""
