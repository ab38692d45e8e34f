"""Who is told of a run as it goes."""

from __future__ import annotations

from typing import Protocol

from leakline.harness.data.model import Growth, Sample


class Observer(Protocol):
    """Is told what a run does, as it does it; shows it to a person, or not."""

    def phase(self, name: str) -> None:
        """A new part of the run begins: in a few words, what it is."""

    def calls(self, done: int, total: int) -> None:
        """So many of the phase's calls have been made."""

    def sample(self, sample: Sample) -> None:
        """A sample that counts has been taken."""

    def suspicion(self, growth: Growth) -> None:
        """For the first time a resource looks as if it leaked; the verdict comes later."""


class Silent:
    """An observer that shows nothing."""

    def phase(self, name: str) -> None:
        """Ignore it."""

    def calls(self, done: int, total: int) -> None:
        """Ignore it."""

    def sample(self, sample: Sample) -> None:
        """Ignore it."""

    def suspicion(self, growth: Growth) -> None:
        """Ignore it."""
