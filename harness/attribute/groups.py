"""From the survivors of a trace window to groups: what one place in the code leaks, of all resources together.

Each step is a pure function from groups to new groups. It can be read, moved and tested alone; findings.py puts the
steps in order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import TypeVar

from leakline.harness.attribute.sites import site_of
from leakline.harness.data.model import MEMORY, RESOURCES, Frame, Growth, How, Resource, Site
from leakline.harness.data.resources import rank
from leakline.harness.data.survey import OFTEN, Survey
from leakline.harness.judge.growth import FLOOR, FLOORS

MINIMUM_SHARE = 0.2
"""The least part of a growth that a place must have made to be named for it.

What made less is steady state that was renewed in the trace window: an old one ended, and a new one took its place.
"""

RATE_TOLERANCE = 0.05
"""How far two rates may be apart, as a part of the rate, and still count as the same; and how far a ratio of two
rates, or a number of things per cycle, may be from a whole number and still count as whole."""

LARGEST_MULTIPLE = 4.5
"""The largest ratio of two rates at which things made together still count as made together: up to four for one."""

_Key = TypeVar("_Key")


@dataclass(frozen=True, slots=True)
class Group:
    """What one place in the code leaks: one resource's survivors from one function, or several of these merged."""

    counts: Mapping[Resource, float]
    """{resource: units per cycle}."""
    sites: Mapping[Resource, Mapping[Site, float]] = field(default_factory=dict)
    """{resource: {allocation site: units per cycle}}; without a resource whose allocation sites are not known."""
    stack: tuple[Frame, ...] = ()
    """The stack that made most of it, innermost frame first; empty when that is not known."""
    stacks: frozenset[tuple[Frame, ...]] = frozenset()
    """All stacks that made some of it with each call."""
    retained_per_cycle: float = 0.0
    """Bytes per cycle that it retains."""
    how: Mapping[Resource, How] = field(default_factory=dict)
    """{resource: why it is in this group}, of each resource that was added to it."""

    @property
    def resource(self) -> Resource:
        """The most telling of its resources, after which its finding is named."""
        return min(self.counts, key=rank)

    @property
    def is_users(self) -> bool:
        """Whether the user's own code made it."""
        return any(frame.kind == "user" for frame in self.stack)

    @property
    def rates(self) -> dict[Site, float]:
        """{allocation site: units per cycle of all resources}."""
        return _total(*self.sites.values())

    def plus(self, other: Group) -> Group:
        """Both together, with the stack of this one."""
        return replace(
            self,
            counts=_total(self.counts, other.counts),
            sites={**self.sites, **{r: _total(self.sites.get(r, {}), made) for r, made in other.sites.items()}},
            stacks=self.stacks | other.stacks,
            retained_per_cycle=self.retained_per_cycle + other.retained_per_cycle,
        )

    def taking_in(self, other: Group, how: How) -> Group:
        """This group with `other` in it, and `how` said of each resource of `other`."""
        return replace(self.plus(other), how={**self.how, **dict.fromkeys(other.counts, how)})


def _total(*tables: Mapping[_Key, float]) -> dict[_Key, float]:
    """{key: sum of its numbers in all tables}."""
    total: dict[_Key, float] = {}
    for table in tables:
        for key, number in table.items():
            total[key] = total.get(key, 0.0) + number
    return total


def of_growth(growth: Growth, survey: Survey | None, root: Path) -> list[Group]:
    """The groups of one growing resource, with its measured rate shared out among them; none where no agent was."""
    if survey is None:
        return []
    groups = group_by_function(growth, survey, root)
    for step in (drop_small, drop_renewed, drop_below_floor, scale_to_growth):
        groups = step(groups, growth)
    return groups


def group_by_function(growth: Growth, survey: Survey, root: Path) -> list[Group]:
    """A group for each function that made survivors of the growing resource, by the most that one stack made.

    Rates are those of the trace window. Sites are left out that made less than MINIMUM_SHARE of the growth, or of one
    a call where it grows by more. An allocation site without a function is a group of its own.
    """
    resource = growth.resource
    by_function: dict[object, Group] = {}
    anonymous = count()
    for row in sorted(survey.made.get(resource, ()), key=lambda r: r.count, reverse=True):
        site = site_of(row.stack, root)
        if site is None or row.count < MINIMUM_SHARE * min(1.0, growth.per_cycle) * survey.cycles:
            continue
        rate = row.count / survey.cycles
        is_of_each_call = row.count >= OFTEN * min(1.0, growth.per_cycle) * survey.cycles
        stacks = frozenset({row.stack} if is_of_each_call else ())
        group = Group({resource: rate}, {resource: {site: rate}}, row.stack, stacks, row.size_bytes / survey.cycles)
        key = (site.file, site.function) if site.function else next(anonymous)
        by_function[key] = by_function[key].plus(group) if key in by_function else group
    return list(by_function.values())


def drop_small(groups: Sequence[Group], growth: Growth) -> list[Group]:
    """The groups that made at least MINIMUM_SHARE of the growth."""
    return [g for g in groups if g.counts[growth.resource] >= MINIMUM_SHARE * growth.per_cycle]


def drop_renewed(groups: Sequence[Group], growth: Growth) -> list[Group]:
    """The groups that made a whole number with each call, where these alone explain the growth; else all of them.

    The others are then steady state that was renewed in the trace window.
    """
    resource, grown = growth.resource, growth.per_cycle
    regular = [
        g
        for g in groups
        if (rate := g.counts[resource]) >= 1 - RATE_TOLERANCE and abs(rate - round(rate)) <= RATE_TOLERANCE
    ]
    explained = sum(g.counts[resource] for g in regular)
    return regular if abs(explained - grown) <= RATE_TOLERANCE * grown else list(groups)


def drop_below_floor(groups: Sequence[Group], growth: Growth) -> list[Group]:
    """The groups whose share of the growth is at least what counts as growth at all; all where no group's is.

    A smaller share is what a library happened to hold as the trace window ended.
    """
    total = sum(g.counts[growth.resource] for g in groups)
    floor = FLOORS.get(growth.resource, FLOOR) * total / growth.per_cycle
    return [g for g in groups if g.counts[growth.resource] >= floor] or list(groups)


def scale_to_growth(groups: Sequence[Group], growth: Growth) -> list[Group]:
    """The groups with rates that add up to the growth: the whole run's rate, in the trace window's proportions."""
    resource = growth.resource
    total = sum(g.counts[resource] for g in groups)
    scaled = []
    for group in groups:
        factor = growth.per_cycle / total
        made = {site: rate * factor for site, rate in group.sites[resource].items()}
        scaled.append(replace(group, counts={resource: group.counts[resource] * factor}, sites={resource: made}))
    return scaled


def merge_same_line(groups: Sequence[Group]) -> list[Group]:
    """Groups that share an allocation site become one: what one line makes of several resources is one leak."""
    return _merge(groups, _share_a_site, "same line")


def merge_callers(groups: Sequence[Group]) -> list[Group]:
    """Groups from one function of the user's become one, where one grows as fast as the other or a few times so.

    A connection that `connect` has opened and the task that it starts to read from it are one leak on two lines.
    """
    return _merge(
        groups, lambda one, other: _are_from_one_function(one, other) and are_in_step(one, other), "same function"
    )


def _merge(groups: Sequence[Group], belong_together: Callable[[Group, Group], bool], how: How) -> list[Group]:
    """`groups`, each taken in by the first before it that it belongs together with."""
    merged: list[Group] = []
    for group in groups:
        at = next((i for i, home in enumerate(merged) if belong_together(home, group)), None)
        if at is None:
            merged.append(group)
        else:
            merged[at] = merged[at].taking_in(group, how)
    return merged


def _share_a_site(one: Group, other: Group) -> bool:
    return bool(one.rates.keys() & other.rates.keys())


def _are_from_one_function(one: Group, other: Group) -> bool:
    """Whether the user's innermost function of one is in a stack of the other.

    All stacks are asked, not the most frequent alone: most of what a leaked task renews (a timer) is of tasks from
    before the trace window, and nothing is known of who made those.
    """
    return any(
        _innermost(a.stack) in {(f.file, f.function) for f in stack if f.kind == "user" and f.function}
        for a, b in ((one, other), (other, one))
        for stack in (b.stack, *b.stacks)
    )


def _innermost(stack: Sequence[Frame]) -> tuple[str, str]:
    """(file, function) of the user's innermost frame."""
    return next(((f.file, f.function) for f in stack if f.kind == "user"), ("", ""))


def are_in_step(one: Group, other: Group) -> bool:
    """Whether some rate of one is some rate of the other, or a small multiple of it."""
    for a in one.counts.values():
        for b in other.counts.values():
            ratio = max(a, b) / min(a, b)
            if ratio <= LARGEST_MULTIPLE and abs(ratio - round(ratio)) <= RATE_TOLERANCE:
                return True
    return False


def grows_at(group: Group, per_cycle: float) -> bool:
    """Whether some resource of the group grows by `per_cycle`, within RATE_TOLERANCE."""
    return any(abs(rate - per_cycle) <= RATE_TOLERANCE * per_cycle for rate in group.counts.values())


def merge_shared_out(groups: Sequence[Group]) -> list[Group]:
    """A resource that several places made, each in part, goes to the group that grows at the rate of all of them.

    What a library renews for each leaked thing (the timer of a ping) is made in one place now and in another then.
    The group must be of the user's code. Where each place alone is in step with it, they stay leaks of their own.
    """
    left = list(groups)
    for resource in RESOURCES:
        parts = [g for g in left if set(g.counts) == {resource}]
        whole = sum(g.counts[resource] for g in parts)
        others = [g for g in left if g not in parts]
        at = next((i for i, g in enumerate(others) if g.is_users and grows_at(g, whole)), None)
        if len(parts) > 1 and at is not None and not all(are_in_step(others[at], part) for part in parts):
            retained = sum(g.retained_per_cycle for g in parts)
            others[at] = others[at].taking_in(Group({resource: whole}, retained_per_cycle=retained), "same rate")
            left = others
    return left


def attach_siteless(groups: Sequence[Group], leaking: Mapping[Resource, Growth]) -> list[Group]:
    """Each leaking resource that is in no group goes to one that grows at its rate, or is a group without a site.

    Memory is left out. `leaking` has the growths in the order of RESOURCES.
    """
    placed = list(groups)
    for resource, growth in leaking.items():
        if resource not in MEMORY and all(resource not in g.counts for g in placed):
            placed = _place_siteless(placed, growth, leaking.get("sockets"))
    return placed


def _place_siteless(groups: Sequence[Group], growth: Growth, sockets: Growth | None) -> list[Group]:
    """`groups` with one resource more, whose allocation sites are not known."""
    resource, left = growth.resource, growth.per_cycle
    if resource == "fds" and sockets is not None:
        # Every socket has a file descriptor too: only what is more than the sockets is another leak.
        left -= sockets.per_cycle
        if left <= max(FLOORS["fds"], RATE_TOLERANCE * growth.per_cycle):
            home = next(at for at, g in enumerate(groups) if "sockets" in g.counts)
            return _taken_in(groups, home, Group({resource: growth.per_cycle}))
    alone = Group({resource: left})
    homes = [at for at, g in enumerate(groups) if grows_at(g, left)]
    if resource == "connections" and not homes:
        # Each connection is a socket, and a library may have several sockets for each.
        homes = [at for at, g in enumerate(groups) if "sockets" in g.counts and are_in_step(alone, g)]
    if not homes:
        return [*groups, alone]
    return _taken_in(groups, max(homes, key=lambda at: ("sockets" in groups[at].counts, groups[at].is_users)), alone)


def _taken_in(groups: Sequence[Group], at: int, group: Group) -> list[Group]:
    """`groups` with `group` in the one at `at`, which grows at its rate."""
    return [*groups[:at], groups[at].taking_in(group, "same rate"), *groups[at + 1 :]]
