"""From growth and survivors to findings: what leaks, from which line, and what comes along with it.

Pure functions. Several resources that grow from one place are one finding, named after the most telling.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Literal

from leakline.harness.attribute.source import context, function_at, line_text
from leakline.harness.attribute.unexplained import TELLING, UNEXPLAINED, WAITING, is_unexplained
from leakline.harness.data.model import MEMORY, RESOURCES, Companion, Finding, Frame, Growth, How, Resource, Site
from leakline.harness.data.resources import rank
from leakline.harness.data.survey import MIN_SURVIVORS_PER_CALL, Retainer, Survey
from leakline.harness.data.words import amount
from leakline.harness.judge.growth import FLOOR, FLOORS

_RARE = 0.2
"""A site that made less than this share of the growth is steady state that was renewed, not a leak."""

_SAME_RATE = 0.05

_MOST_KEEPERS = 3
_MOST_TYPES = 4
_MOST_TIMES = 4.5
_MOST_HEAP_SITES = 5


@dataclass
class _Group:
    """Survivors of one resource from one function; and, once merged, those that share a line with them."""

    counts: dict[Resource, float]
    """{resource: units per cycle}."""
    sites: dict[Resource, dict[Site, float]]
    """{resource: {site: units per cycle}}."""
    stack: tuple[Frame, ...]
    """Of most of them."""
    stacks: set[tuple[Frame, ...]] = field(default_factory=set)
    """Others, that come with each call."""
    held_per_cycle: float = 0.0
    how: dict[Resource, How] = field(default_factory=dict)

    @property
    def is_users(self) -> bool:
        """Whether it was the user's own code that made it."""
        return any(frame.kind == "user" for frame in self.stack)

    @property
    def rates(self) -> dict[Site, float]:
        """{site: units per cycle of all resources}."""
        total: dict[Site, float] = {}
        for made in self.sites.values():
            for site, rate in made.items():
                total[site] = total.get(site, 0.0) + rate
        return total

    @property
    def resource(self) -> Resource:
        return min(self.counts, key=rank)


_STDLIB = re.compile(r".*/lib/python3\.\d+t?/")


def build(
    growths: Sequence[Growth], survey: Survey | None, root: Path, deep: Survey | None = None, kinds: str = ""
) -> tuple[Finding, ...]:
    """The findings of a run, the most telling first. Paths are shown from `root` where they lie under it.

    `deep` is a second survey, with whole stacks of allocations; it is asked for the heap alone. `kinds` says in words
    which descriptors and files there are more of.
    """
    leaking = {g.resource: g for g in growths if g.state == "leaking"}
    groups: list[_Group] = []
    for resource, growth in leaking.items():
        if resource not in MEMORY:
            groups += _groups(growth, survey, root)
    for resource in WAITING if not groups else ():
        groups += _groups(leaking[resource], survey, root) if resource in leaking else []
    groups = _merge_shared_out(_merge_callers(_merge_same_line(groups)))
    _attach_siteless(groups, leaking)
    findings = [_finding(group, leaking) for group in groups]
    if "heap" in leaking:
        findings = _with_heap(findings, groups, leaking["heap"], deep, root)
    elif "objects" in leaking and not findings:
        findings = [_of_memory(leaking["objects"], leaking["objects"].per_cycle, *_heap_sites(deep, root))]
    for resource in (*WAITING, "objects"):
        if resource in leaking and all(f.resource != resource for f in findings):
            findings = _beside(findings, leaking[resource])
    if "rss" in leaking:
        findings = _with_rss(findings, leaking["rss"])
    findings = _with_kinds(_kept(findings, survey), kinds)
    return tuple(sorted(findings, key=lambda f: rank(f.resource)))


def site_of(stack: Sequence[Frame], root: Path) -> Site | None:
    """The frame to name: the innermost of the user's own, else the innermost of a library."""
    for kind in ("user", "library", "stdlib"):
        for frame in stack:
            if frame.kind == kind:
                function = frame.function or function_at(frame.file, frame.line) or _function_around(frame, stack)
                text, around = line_text(frame.file, frame.line), context(frame.file, frame.line)
                return Site(shown_path(frame.file, root), frame.line, function, text, around)
    return None


def _function_around(frame: Frame, stack: Sequence[Frame]) -> str:
    """The function that a nameless one, such as a callback, was called from, when it is in the same file."""
    return next((f.function for f in stack if f.file == frame.file and f.function), "")


def shown_path(file: str, root: Path) -> str:
    """`file` as a person would name it: from `root`, or from the directory that it is imported from."""
    installed = f"{os.sep}site-packages{os.sep}"
    if installed in file:
        return file.rpartition(installed)[2]
    if (standard := _STDLIB.match(file)) is not None:
        return file[standard.end() :]
    real, real_root = Path(file).resolve(), root.resolve()  # behind a link: a diff, an annotation has it there
    return str(real.relative_to(real_root)) if real.is_relative_to(real_root) else file


def _groups(growth: Growth, survey: Survey | None, root: Path) -> list[_Group]:
    rows = survey.made.get(growth.resource, ()) if survey is not None else ()
    by_function: dict[object, _Group] = {}
    anonymous = count()
    for row in sorted(rows, key=lambda r: r.count, reverse=True):
        site = site_of(row.stack, root)
        if site is None or survey is None or row.count < _RARE * min(1.0, growth.per_cycle) * survey.cycles:
            continue
        key = (site.file, site.function) if site.function else next(anonymous)
        group = by_function.setdefault(key, _Group({growth.resource: 0.0}, {}, row.stack))
        if row.count >= MIN_SURVIVORS_PER_CALL * min(1.0, growth.per_cycle) * survey.cycles:
            group.stacks.add(row.stack)
        made = group.sites.setdefault(growth.resource, {})
        made[site] = made.get(site, 0.0) + row.count / survey.cycles
        group.counts[growth.resource] += row.count / survey.cycles
        group.held_per_cycle += row.size_bytes / survey.cycles
    kept = [g for g in by_function.values() if g.counts[growth.resource] >= _RARE * growth.per_cycle]
    kept = _without_renewed(kept, growth)
    total = sum(g.counts[growth.resource] for g in kept)
    # A share under the floor is what a library happens to hold while the watch ends.
    floor = FLOORS.get(growth.resource, FLOOR) * total / growth.per_cycle
    kept = [g for g in kept if g.counts[growth.resource] >= floor] or kept
    total = sum(g.counts[growth.resource] for g in kept)
    for group in kept:  # the long run's rate, shared out as the watch saw it
        group.counts[growth.resource] *= growth.per_cycle / total
        for site in (made := group.sites[growth.resource]):
            made[site] *= growth.per_cycle / total
    return kept


def _without_renewed(groups: list[_Group], growth: Growth) -> list[_Group]:
    """`groups` without renewed steady state, when those that come with every call explain the growth alone."""
    resource, grown = growth.resource, growth.per_cycle
    regular = [
        g for g in groups if (rate := g.counts[resource]) >= 1 - _SAME_RATE and abs(rate - round(rate)) <= _SAME_RATE
    ]
    explained = sum(g.counts[resource] for g in regular)
    return regular if abs(explained - grown) <= _SAME_RATE * grown else groups


def _merge_same_line(groups: Iterable[_Group]) -> list[_Group]:
    merged: list[_Group] = []
    for group in groups:
        home = next((m for m in merged if m.rates.keys() & group.rates.keys()), None)
        if home is None:
            merged.append(group)
            continue
        _take_in(home, group, "same line")
    return merged


def _merge_callers(groups: list[_Group]) -> list[_Group]:
    """Merge what one function made with what was made further in, from the same function, as often or a few times so.

    A connection that `connect` has opened and the task that it starts to read from it are one leak on two lines.
    """
    merged: list[_Group] = []
    for group in groups:
        home = next((m for m in merged if _is_from_one_function(m, group) and _are_in_step(m, group)), None)
        if home is None:
            merged.append(group)
        else:
            _take_in(home, group, "same function")
    return merged


def _is_from_one_function(one: _Group, other: _Group) -> bool:
    """Whether the user's innermost function of one is in a stack of the other.

    Most of what a leaked task renews is of tasks from before the watch, of which nobody knows who made them.
    """
    return any(
        _innermost(a.stack) in {(f.file, f.function) for f in stack if f.kind == "user" and f.function}
        for a, b in ((one, other), (other, one))
        for stack in (b.stack, *b.stacks)
    )


def _innermost(stack: Sequence[Frame]) -> tuple[str, str]:
    return next(((f.file, f.function) for f in stack if f.kind == "user"), ("", ""))


def _are_in_step(one: _Group, other: _Group) -> bool:
    """Whether some count of one is some count of the other, or a small multiple of it."""
    for a in one.counts.values():
        for b in other.counts.values():
            times = max(a, b) / min(a, b)
            if times <= _MOST_TIMES and abs(times - round(times)) <= _SAME_RATE:
                return True
    return False


def _merge_shared_out(groups: list[_Group]) -> list[_Group]:
    """Merge a resource that several places made, each in part, with what its whole grows in step with.

    What a library renews for each leaked thing (a ping's timer) is made here once and there the next time.
    """
    kept = list(groups)
    for resource in RESOURCES:
        parts = [g for g in kept if set(g.counts) == {resource}]
        whole = sum(g.counts[resource] for g in parts)
        home = next((g for g in kept if g not in parts and g.is_users and _in_step(g, whole)), None)
        if len(parts) > 1 and home is not None and not all(_are_in_step(home, part) for part in parts):
            kept = [g for g in kept if g not in parts]
            home.counts[resource], home.how[resource] = home.counts.get(resource, 0.0) + whole, "same rate"
            home.held_per_cycle += sum(g.held_per_cycle for g in parts)
    return kept


def _take_in(home: _Group, group: _Group, how: How) -> None:
    for resource, per_cycle in group.counts.items():
        home.counts[resource] = home.counts.get(resource, 0.0) + per_cycle
        home.how[resource] = how
    home.stacks |= group.stacks
    for resource, made in group.sites.items():
        here = home.sites.setdefault(resource, {})
        for site, rate in made.items():
            here[site] = here.get(site, 0.0) + rate
    home.held_per_cycle += group.held_per_cycle


def _attach_siteless(groups: list[_Group], leaking: dict[Resource, Growth]) -> None:
    """Give each resource that no site accounts for to the finding that it grows in step with, or its own."""
    for resource, growth in leaking.items():
        if resource in MEMORY or any(resource in g.counts for g in groups):
            continue
        left = growth.per_cycle
        if resource == "fds":
            # Every socket is an fd too: only what is more than the sockets is news.
            sockets = leaking.get("sockets")
            left -= sockets.per_cycle if sockets is not None else 0.0
            if sockets is not None and left <= max(FLOORS["fds"], _SAME_RATE * growth.per_cycle):
                home = next(g for g in groups if "sockets" in g.counts)
                home.counts["fds"], home.how["fds"] = growth.per_cycle, "same rate"
                continue
        in_step = [g for g in groups if _in_step(g, left)]
        if resource == "connections" and not in_step:  # each is a socket, and a library may have some for each
            alone = _Group({resource: left}, {}, ())
            in_step = [g for g in groups if "sockets" in g.counts and _are_in_step(alone, g)]
        home_in_step = max(in_step, key=lambda g: ("sockets" in g.counts, g.is_users), default=None)
        if home_in_step is not None:
            home_in_step.counts[resource] = left
            home_in_step.how[resource] = "same rate"
        else:
            groups.append(_Group({resource: left}, {}, ()))


def _in_step(group: _Group, per_cycle: float) -> bool:
    return any(abs(rate - per_cycle) <= _SAME_RATE * per_cycle for rate in group.counts.values())


def _finding(group: _Group, leaking: dict[Resource, Growth]) -> Finding:
    first = group.resource
    companions = tuple(
        Companion(r, per_cycle, group.how.get(r, "same line")) for r, per_cycle in group.counts.items() if r != first
    )
    own, rates = group.sites.get(first, {}), group.rates
    sites = tuple(sorted(rates, key=lambda s: (-round(rates[s], 2), s not in own, s.file, s.line)))
    return Finding(first, group.counts[first], leaking[first], sites, companions, group.stack)


def _with_heap(
    findings: list[Finding], groups: list[_Group], heap: Growth, deep: Survey | None, root: Path
) -> list[Finding]:
    """Charge the heap's growth to the findings that hold it; what is left is a finding of its own."""
    sizes, stacks = _heap_sites(deep, root)
    left = heap.per_cycle
    charged = []
    for finding, group in zip(findings, groups, strict=True):
        made = group.rates
        own_lines = {site: size for site, size in sizes.items() if site in made}
        # What can be reached may be more than what has grown, such as a library's cache that was filled meanwhile.
        held = min(max(left, 0.0), group.held_per_cycle + sum(own_lines.values()))
        left -= held
        for site in own_lines:
            del sizes[site]
        more = (Companion("heap", held, "held"),) if held > FLOORS["heap"] else ()
        charged.append(replace(finding, companions=(*finding.companions, *more)))
    if not is_unexplained(left, heap):
        return charged
    is_users = any(f.kind == "user" for stack in stacks.values() for f in stack)
    if charged and (not is_users or sum(sizes.values()) < UNEXPLAINED * left):
        # No line of the user's allocates it with every call: it goes with what leaks, such as a TLS context's memory
        # or what a library notes of each listener.
        return _beside_most_heap(charged, Companion("heap", left, "same rate"))
    memory = _of_memory(heap, left, sizes, stacks)
    if len(charged) == 1 and not charged[0].sites:
        # What has no line of its own (a child, an eventfd) is kept by an object that has.
        companions = (*charged[0].companions, Companion("heap", left, "same rate"))
        return [replace(charged[0], sites=memory.sites, stack=memory.stack, companions=companions)]
    return [*charged, memory]


def _of_memory(
    growth: Growth, left: float, sizes: Mapping[Site, float], stacks: Mapping[Site, tuple[Frame, ...]]
) -> Finding:
    """A finding of memory alone: the lines that allocate it. A few bytes of a library's are no reason to name one."""
    if sum(sizes.values()) < _RARE * left and not any(f.kind == "user" for stack in stacks.values() for f in stack):
        return Finding(growth.resource, left, growth)
    ranked = sorted(sizes, key=lambda s: sizes[s], reverse=True)[:_MOST_HEAP_SITES]
    ranked = [site for site in ranked if sizes[site] >= _RARE * sizes[ranked[0]]]
    return Finding(growth.resource, left, growth, tuple(ranked), (), stacks[ranked[0]] if ranked else ())


def _heap_sites(deep: Survey | None, root: Path) -> tuple[dict[Site, float], dict[Site, tuple[Frame, ...]]]:
    """({site: bytes a call}, {site: stack}) of the allocations that come back with every call.

    Allocations without a line of the user's in their stack are named only when there is nothing else.
    """
    rows = deep.allocated if deep is not None else ()
    users = [row for row in rows if any(frame.kind == "user" for frame in row.stack)]
    sizes: dict[Site, float] = {}
    stacks: dict[Site, tuple[Frame, ...]] = {}
    for row in users or rows:
        site = site_of(row.stack, root)
        if site is not None and deep is not None:
            sizes[site] = sizes.get(site, 0.0) + row.size_bytes / deep.cycles
            stacks.setdefault(site, row.stack)
    return sizes, stacks


def _with_rss(findings: list[Finding], rss: Growth) -> list[Finding]:
    if not findings:
        return [Finding("rss", rss.per_cycle, rss, detail="native memory, or a heap that fragments")]
    return _beside(findings, rss)


def _beside(findings: list[Finding], growth: Growth) -> list[Finding]:
    """Say the growth of memory beside the findings that explain it; alone, it is a finding."""
    if not findings:
        return [Finding(growth.resource, growth.per_cycle, growth)]
    how: Literal["same rate", "in all"] = "same rate" if len(findings) == 1 else "in all"
    return _beside_most_heap(findings, Companion(growth.resource, growth.per_cycle, how))


def _with_kinds(findings: list[Finding], kinds: str) -> list[Finding]:
    """Say which descriptors and files there are more of, beside the first finding that has to do with such."""
    of_files = ("sockets", "fds", "temp_files")
    for at, finding in enumerate(findings):
        if kinds and {finding.resource, *(c.resource for c in finding.companions)} & set(of_files):
            return [*findings[:at], replace(finding, detail=kinds), *findings[at + 1 :]]
    return findings


def _kept(findings: list[Finding], survey: Survey | None) -> list[Finding]:
    """Say which containers grew and what of, beside the finding of memory, or the only finding."""
    at = next((i for i, f in enumerate(findings) if f.resource in MEMORY), 0 if len(findings) == 1 else None)
    if survey is None or at is None:
        return findings
    names = dict.fromkeys(_keeper(k) for k in survey.retainers if _is_telling(k, findings[at]))
    changed = list(findings)
    types = [f"{name} {rate:+.2f}" for name, rate in survey.types.items()][:_MOST_TYPES]
    if findings[at].resource not in MEMORY:
        types = []  # what it is has a name already
    changed[at] = replace(changed[at], kept_in=tuple(names)[:_MOST_KEEPERS], types=tuple(types))
    return changed


def _is_telling(keeper: Retainer, finding: Finding) -> bool:
    """Whether it grew with each call; a text by a good part of the heap."""
    least = MIN_SURVIVORS_PER_CALL if not keeper.is_bytes else TELLING * finding.per_cycle
    return keeper.code == "user" and keeper.per_cycle >= least and (finding.resource == "heap" or not keeper.is_bytes)


def _keeper(keeper: Retainer) -> str:
    rate = amount("heap", keeper.per_cycle, sign=True) if keeper.is_bytes else f"+{keeper.per_cycle:.2f}"
    return f"{keeper.owner} ({rate} a call)"


def _beside_most_heap(findings: list[Finding], companion: Companion) -> list[Finding]:
    """Say `companion` once, beside the finding that holds most of the heap."""
    held = [max((c.per_cycle for c in f.companions if c.resource == "heap"), default=0.0) for f in findings]
    at = held.index(max(held))
    changed = list(findings)
    changed[at] = replace(changed[at], companions=(*changed[at].companions, companion))
    return changed
