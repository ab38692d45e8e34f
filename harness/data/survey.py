"""What the agents saw of a trace window: what was made in it and is still alive, where, and what retains it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from leakline.harness.data.model import Frame, FrameKind, Resource

OFTEN = 0.8
"""Survivors a call that an allocation site must have to be one that leaks with each call."""


@dataclass(frozen=True, slots=True)
class SiteCount:
    """Survivors of a trace window that one stack made."""

    stack: tuple[Frame, ...]
    """Innermost frame first."""
    count: int
    size_bytes: int
    """What they retain together; of an allocation, what was allocated."""


@dataclass(frozen=True, slots=True)
class Retainer:
    """A container from before the trace window that grew in it, and so retains what was put in."""

    owner: str
    """As a person would name it: `restaurant.menu.Carts._carts`."""
    per_cycle: float
    """Entries, or bytes, that it grew by a call."""
    code: FrameKind
    """Whose code it belongs to."""
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
    """What a trace window of `cycles` calls left behind in the server."""

    cycles: int
    made: Mapping[Resource, tuple[SiteCount, ...]] = field(default_factory=dict)
    """{resource: survivors}."""
    heap: tuple[SiteCount, ...] = ()
    """Allocations that nothing in `made` retains."""
    pieces: tuple[SiteCount, ...] = ()
    """Where a text or a buffer grew last that grows in one piece, by so many bytes in all; they are not in `heap`."""
    retainers: tuple[Retainer, ...] = ()
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
