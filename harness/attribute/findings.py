"""From growth and survivors to findings: what leaks, from which line, and what comes along with it.

`build` is a list of named steps, each a pure function of groups.py, memory.py or this file. Several resources that
grow from one place are one finding, named after the most telling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from leakline.harness.attribute import groups, memory
from leakline.harness.attribute.unexplained import MINIMUM_TEXT_SHARE, WAITING
from leakline.harness.data.model import MEMORY, Companion, Finding, Growth, Resource
from leakline.harness.data.resources import rank
from leakline.harness.data.survey import OFTEN, Retainer, Survey
from leakline.harness.data.words import amount

_MOST_RETAINERS = 3
"""Retainers that a finding names at the most."""

_MOST_TYPES = 4
"""Classes of objects that a finding names at the most."""

_WITH_DESCRIPTORS: frozenset[Resource] = frozenset({"sockets", "fds", "temp_files"})
"""The resources of which the kinds of descriptors and files tell more."""


def build(
    growths: Sequence[Growth], survey: Survey | None, root: Path, deep: Survey | None = None, kinds: str = ""
) -> tuple[Finding, ...]:
    """The findings of a run, the most telling first. Paths are shown from `root` where they lie under it.

    `survey` is of the trace window; None where no agent was in the server. `deep` is of a second trace window, with
    whole stacks of allocations; it is asked for the heap alone. `kinds` says in words which descriptors and files
    there are more of.
    """
    leaking = {growth.resource: growth for growth in growths if growth.state == "leaking"}
    allocated = memory.allocations(deep, root)

    grouped = group_survivors(leaking, survey, root)
    grouped = groups.merge_same_line(grouped)
    grouped = groups.merge_callers(grouped)
    grouped = groups.merge_shared_out(grouped)
    grouped = groups.attach_siteless(grouped, leaking)

    findings = [finding_of(group, leaking) for group in grouped]
    findings = memory.place_heap(findings, grouped, leaking, allocated)
    findings = memory.place_objects_alone(findings, leaking, allocated)
    findings = memory.place_counts(findings, leaking)
    findings = memory.place_rss(findings, leaking)
    findings = name_retainers(findings, survey)
    findings = name_kinds(findings, kinds)
    return tuple(sorted(findings, key=lambda finding: rank(finding.resource)))


def group_survivors(leaking: Mapping[Resource, Growth], survey: Survey | None, root: Path) -> list[groups.Group]:
    """The groups of all that leaks but memory; where there are none, those of what waits for something."""

    def of(resources: Sequence[Resource]) -> list[groups.Group]:
        return [g for r in resources if r in leaking for g in groups.of_growth(leaking[r], survey, root)]

    return of([resource for resource in leaking if resource not in MEMORY]) or of(WAITING)


def finding_of(group: groups.Group, leaking: Mapping[Resource, Growth]) -> Finding:
    """The finding of a group: its most telling resource with allocation sites, the others as companions."""
    first = group.resource
    companions = tuple(
        Companion(resource, per_cycle, group.how.get(resource, "same line"))
        for resource, per_cycle in group.counts.items()
        if resource != first
    )
    own, rates = group.sites.get(first, {}), group.rates
    sites = tuple(sorted(rates, key=lambda site: (-round(rates[site], 2), site not in own, site.file, site.line)))
    return Finding(first, group.counts[first], leaking[first], sites, companions, group.stack)


def name_retainers(findings: Sequence[Finding], survey: Survey | None) -> list[Finding]:
    """The containers that grew with each call and the classes of the objects that stay, said with one finding.

    With the first finding of memory, else with the only finding; with none where there are several. Classes are said
    of memory alone: another resource has a name already.
    """
    at = next((i for i, f in enumerate(findings) if f.resource in MEMORY), 0 if len(findings) == 1 else None)
    if survey is None or at is None:
        return list(findings)
    finding = findings[at]
    retainers = dict.fromkeys(_in_words(each) for each in survey.retainers if _is_telling(each, finding))
    types = [f"{name} {rate:+.2f}" for name, rate in survey.types.items()] if finding.resource in MEMORY else []
    named = replace(finding, kept_in=tuple(retainers)[:_MOST_RETAINERS], types=tuple(types[:_MOST_TYPES]))
    return [*findings[:at], named, *findings[at + 1 :]]


def _is_telling(retainer: Retainer, finding: Finding) -> bool:
    """Whether the user's retainer grew with each call; a text or a buffer by a good part of the heap's growth."""
    least = MINIMUM_TEXT_SHARE * finding.per_cycle if retainer.is_bytes else OFTEN
    is_of_this = finding.resource == "heap" or not retainer.is_bytes
    return retainer.code == "user" and retainer.per_cycle >= least and is_of_this


def _in_words(retainer: Retainer) -> str:
    rate = amount("heap", retainer.per_cycle, sign=True) if retainer.is_bytes else f"+{retainer.per_cycle:.2f}"
    return f"{retainer.owner} ({rate} a call)"


def name_kinds(findings: Sequence[Finding], kinds: str) -> list[Finding]:
    """Which descriptors and files there are more of, said with the first finding that has to do with such."""
    for at, finding in enumerate(findings):
        if kinds and _WITH_DESCRIPTORS & {finding.resource, *(each.resource for each in finding.companions)}:
            return [*findings[:at], replace(finding, detail=kinds), *findings[at + 1 :]]
    return list(findings)
