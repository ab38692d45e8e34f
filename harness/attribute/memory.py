"""Where growth of memory belongs: beside the finding that retains it or grows with it, or in a finding of its own.

Each step is a pure function from findings to new findings; findings.py puts them in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from leakline.harness.attribute.groups import MINIMUM_SHARE, Group
from leakline.harness.attribute.sites import site_of
from leakline.harness.attribute.unexplained import MOST_UNEXPLAINED, WAITING, is_unexplained
from leakline.harness.data.model import Companion, Finding, Frame, Growth, How, Resource, Site
from leakline.harness.data.survey import Survey
from leakline.harness.judge.growth import FLOORS

_MOST_SITES = 5
"""Allocation sites that a finding of memory names at the most."""


@dataclass(frozen=True, slots=True)
class Allocations:
    """What the lines of a server allocate with each call and do not free."""

    sizes: Mapping[Site, float] = field(default_factory=dict)
    """{allocation site: bytes per cycle}."""
    stacks: Mapping[Site, tuple[Frame, ...]] = field(default_factory=dict)
    """{allocation site: a stack that allocated there, innermost frame first}."""

    @property
    def per_cycle(self) -> float:
        """Bytes per cycle of all."""
        return sum(self.sizes.values())

    @property
    def is_users(self) -> bool:
        """Whether any of it was allocated by the user's own code, at any depth of the stack."""
        return any(frame.kind == "user" for stack in self.stacks.values() for frame in stack)

    def without(self, sites: Iterable[Site]) -> Allocations:
        """All but those of `sites`."""
        left = self.sizes.keys() - set(sites)
        return Allocations(
            {site: size for site, size in self.sizes.items() if site in left},
            {site: stack for site, stack in self.stacks.items() if site in left},
        )


def allocations(deep: Survey | None, root: Path) -> Allocations:
    """The allocations of each call in a deep survey; those without a frame of the user's only if all are such."""
    if deep is None:
        return Allocations()
    users = [row for row in deep.allocated if any(frame.kind == "user" for frame in row.stack)]
    sizes: dict[Site, float] = {}
    stacks: dict[Site, tuple[Frame, ...]] = {}
    for row in users or deep.allocated:
        if (site := site_of(row.stack, root)) is not None:
            sizes[site] = sizes.get(site, 0.0) + row.size_bytes / deep.cycles
            stacks.setdefault(site, row.stack)
    return Allocations(sizes, stacks)


def place_heap(
    findings: Sequence[Finding], groups: Sequence[Group], leaking: Mapping[Resource, Growth], allocated: Allocations
) -> list[Finding]:
    """The heap's growth beside the findings that retain it; what is left, beside one or as a finding of its own.

    `groups` are those that the findings were made of, in the same order.
    """
    if "heap" not in leaking:
        return list(findings)
    heap = leaking["heap"]
    charged, left, unclaimed = charge_retained(findings, groups, heap, allocated)
    return place_rest(charged, heap, left, unclaimed) if is_unexplained(left, heap) else charged


def charge_retained(
    findings: Sequence[Finding], groups: Sequence[Group], heap: Growth, allocated: Allocations
) -> tuple[list[Finding], float, Allocations]:
    """(findings, each with what it retains of the heap's growth; bytes per cycle left over; allocations left over).

    A finding's share is what its group was seen to retain, and what its own lines allocate.
    """
    left = heap.per_cycle
    charged = []
    for finding, group in zip(findings, groups, strict=True):
        rates = group.rates
        own = {site: size for site, size in allocated.sizes.items() if site in rates}
        # What can be reached may be more than what has grown, such as a library's cache that was filled meanwhile.
        share = min(left, group.retained_per_cycle + sum(own.values()))
        left -= share
        allocated = allocated.without(own)
        retained = (Companion("heap", share, "held"),) if share > FLOORS["heap"] else ()
        charged.append(replace(finding, companions=(*finding.companions, *retained)))
    return charged, left, allocated


def place_rest(findings: Sequence[Finding], heap: Growth, left: float, allocated: Allocations) -> list[Finding]:
    """The `left` bytes per cycle of the heap's growth that no finding retains, given the allocations that are left.

    They are a finding of their own where the user's lines allocate a good part of them. Else they go beside the
    findings, such as a TLS context's memory or what a library notes of each listener.
    """
    if findings and (not allocated.is_users or allocated.per_cycle < MOST_UNEXPLAINED * left):
        return _beside_most_heap(findings, Companion("heap", left, "same rate"))
    memory = finding_of_memory(heap, left, allocated)
    if len(findings) == 1 and not findings[0].sites:
        # What has no allocation site of its own (a child, an eventfd) is retained by an object that has.
        companions = (*findings[0].companions, Companion("heap", left, "same rate"))
        return [replace(findings[0], sites=memory.sites, stack=memory.stack, companions=companions)]
    return [*findings, memory]


def finding_of_memory(growth: Growth, per_cycle: float, allocated: Allocations) -> Finding:
    """A finding of `per_cycle` of memory that names the lines that allocate it, the most first.

    None is named where all are a library's and allocate less than MINIMUM_SHARE of it: its reason is elsewhere.
    """
    if allocated.per_cycle < MINIMUM_SHARE * per_cycle and not allocated.is_users:
        return Finding(growth.resource, per_cycle, growth)
    sizes = allocated.sizes
    ranked = sorted(sizes, key=lambda s: sizes[s], reverse=True)[:_MOST_SITES]
    sites = tuple(site for site in ranked if sizes[site] >= MINIMUM_SHARE * sizes[ranked[0]])
    return Finding(growth.resource, per_cycle, growth, sites, (), allocated.stacks[sites[0]] if sites else ())


def place_objects_alone(
    findings: Sequence[Finding], leaking: Mapping[Resource, Growth], allocated: Allocations
) -> list[Finding]:
    """Growth of the number of objects, where nothing else and no heap grows, as a finding with allocation sites."""
    if findings or "heap" in leaking or "objects" not in leaking:
        return list(findings)
    return [finding_of_memory(leaking["objects"], leaking["objects"].per_cycle, allocated)]


def place_counts(findings: Sequence[Finding], leaking: Mapping[Resource, Growth]) -> list[Finding]:
    """Growth of what waits, and of the number of objects, beside the findings that explain it; alone, a finding."""
    placed = list(findings)
    for resource in (*WAITING, "objects"):
        if resource in leaking and all(f.resource != resource for f in placed):
            placed = _beside(placed, leaking[resource])
    return placed


def place_rss(findings: Sequence[Finding], leaking: Mapping[Resource, Growth]) -> list[Finding]:
    """Growth of rss beside the findings, which explain it; alone, as a finding."""
    if "rss" not in leaking:
        return list(findings)
    return _beside(findings, leaking["rss"], "native memory, or a heap that fragments")


def _beside(findings: Sequence[Finding], growth: Growth, detail_alone: str = "") -> list[Finding]:
    """`findings` with the growth of memory said beside one of them; where there are none, a finding of it."""
    if not findings:
        return [Finding(growth.resource, growth.per_cycle, growth, detail=detail_alone)]
    how: How = "same rate" if len(findings) == 1 else "in all"
    return _beside_most_heap(findings, Companion(growth.resource, growth.per_cycle, how))


def _beside_most_heap(findings: Sequence[Finding], companion: Companion) -> list[Finding]:
    """`findings` with `companion` said once, beside the first of those that retain most of the heap."""
    retained = [max((c.per_cycle for c in f.companions if c.resource == "heap"), default=0.0) for f in findings]
    at = retained.index(max(retained))
    home = replace(findings[at], companions=(*findings[at].companions, companion))
    return [*findings[:at], home, *findings[at + 1 :]]
