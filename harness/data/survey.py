"""What a trace window saw in a SUT: the objects that were made in it and survive, their sites and their retainers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from leakline.harness.data.model import Frame, FrameKind, Resource

MIN_SURVIVORS_PER_CALL = 0.8
"""Survivors per call from which an allocation site is taken to leak in each call."""


@dataclass(frozen=True, slots=True)
class SiteCount:
    """The survivors of a trace window that one stack made."""

    stack: tuple[Frame, ...]
    """Innermost frame first."""
    count: int
    size_bytes: int
    """Memory that they retain; of an allocation, its own size."""


@dataclass(frozen=True, slots=True)
class Retainer:
    """A container that is older than the trace window and grew in it."""

    owner: str
    """Qualified name: `restaurant.menu.Carts._carts`."""
    per_cycle: float
    """Growth per call, in entries or bytes."""
    code: FrameKind
    """Whose code owns it."""
    is_bytes: bool = False
    """Whether it is a text or a buffer, which grows in bytes."""


@dataclass(frozen=True, slots=True)
class Caught:
    """The exceptions of one type that one line of code caught."""

    frame: Frame
    type: str
    count: int


@dataclass(frozen=True, slots=True)
class Survey:
    """What the `cycles` calls of a trace window left behind in the SUT."""

    cycles: int
    made: Mapping[Resource, tuple[SiteCount, ...]] = field(default_factory=dict)
    """{resource: its survivors by stack}."""
    heap: tuple[SiteCount, ...] = ()
    """Surviving allocations that nothing in `made` retains."""
    buffers: tuple[SiteCount, ...] = ()
    """Texts, buffers and the like that grew as one block of memory, each by the stack that last extended it and with
    its growth in the window. They are not in `heap`."""
    retainers: tuple[Retainer, ...] = ()
    timers_set: tuple[SiteCount, ...] = ()
    """Stacks that set timers, those that have fired included."""
    types: Mapping[str, float] = field(default_factory=dict)
    """{class: survivors per call}, the most first."""

    @property
    def allocated_per_cycle(self) -> float:
        """Bytes per call of the survivors in `allocated`."""
        return sum(row.size_bytes for row in self.allocated) / self.cycles

    @property
    def allocated(self) -> tuple[SiteCount, ...]:
        """Memory whose sites allocate in each call."""
        return (*self.buffers, *(row for row in self.heap if row.count >= MIN_SURVIVORS_PER_CALL * self.cycles))
