"""What a watch saw in a SUT: what was made in it and lives, where, and what keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from leakline.harness.data.model import Frame, FrameKind, Resource

OFTEN = 0.8
"""An allocation site with fewer survivors a call than this is no leak of each call."""


@dataclass(frozen=True, slots=True)
class SiteCount:
    """So many survivors of a watch that one place made."""

    stack: tuple[Frame, ...]
    count: int
    size_bytes: int
    """What they hold; of an allocation, what was allocated."""


@dataclass(frozen=True, slots=True)
class Keeper:
    """A container of before a watch that grew in it."""

    owner: str
    """As a person would name it: `restaurant.menu.Carts._carts`."""
    per_cycle: float
    code: FrameKind
    """Whose it is."""
    is_bytes: bool = False
    """Whether it grows in bytes: a text or a buffer; else in entries."""


@dataclass(frozen=True, slots=True)
class Caught:
    """Exceptions of one type that one line caught."""

    frame: Frame
    type: str
    count: int


@dataclass(frozen=True, slots=True)
class Survey:
    """What a watch of `cycles` calls left behind in the SUT."""

    cycles: int
    made: Mapping[Resource, tuple[SiteCount, ...]] = field(default_factory=dict)
    heap: tuple[SiteCount, ...] = ()
    """Allocations that nothing in `made` holds."""
    pieces: tuple[SiteCount, ...] = ()
    """Where a text or a buffer grew last that grows in one piece, by so many bytes in all; they are not in `heap`."""
    keepers: tuple[Keeper, ...] = ()
    woke: tuple[SiteCount, ...] = ()
    """Where timers were set, also such as have gone off."""
    types: Mapping[str, float] = field(default_factory=dict)
    """{class: objects a call} of what was made and lives, the most first."""

    @property
    def allocated_per_cycle(self) -> float:
        """Bytes a call that come from the allocation sites of each call."""
        return sum(row.size_bytes for row in self.allocated) / self.cycles

    @property
    def allocated(self) -> tuple[SiteCount, ...]:
        """The allocation sites of each call."""
        return (*self.pieces, *(row for row in self.heap if row.count >= OFTEN * self.cycles))
