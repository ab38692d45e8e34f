"""Servers of several processes (`uvicorn --workers`, gunicorn, a Node cluster): which of them it is that grew."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import replace

from leakline.harness.data.model import Companion, Finding, Growth, InProcess, Resource, Sample

_MOST_OF = 0.7
_IN_CHILDREN = "in the processes that it leaves"


def by_process(findings: Iterable[Finding], samples: Sequence[Sample]) -> tuple[Finding, ...]:
    """`findings`, each with how much its resource grew in every process; as they are where there is one process."""
    return tuple(replace(finding, processes=_grown(finding.resource, samples)) for finding in findings)


def ended(with_agent: Iterable[int], now: Sample, lost: Container[int]) -> tuple[int, ...]:
    """Of the processes that had an agent at the first sample, those that have ended, or are among those `lost`."""
    return tuple(pid for pid in with_agent if str(pid) not in now.processes or pid in lost)


def told(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """`samples`, and of a server that is one process all along nothing twice."""
    if any(len(sample.processes) > 1 for sample in samples):
        return tuple(samples)
    return tuple(replace(sample, processes={}) for sample in samples)


def without_children(
    growths: Sequence[Growth], samples: Sequence[Sample]
) -> tuple[tuple[Growth, ...], tuple[Companion, ...]]:
    """(`growths` where processes are left behind: what grew in those alone is no leak of its own; what they hold)."""
    if not any(g.resource == "children" and g.state == "leaking" for g in growths):
        return tuple(growths), ()
    inside = [
        g
        for g in growths
        if g.state == "leaking" and g.resource != "children" and _is_in_children(g.resource, samples)
    ]
    left = tuple(replace(g, state="clean", note=_IN_CHILDREN) if g in inside else g for g in growths)
    return left, tuple(Companion(g.resource, g.per_cycle, "held") for g in inside)


def with_children(findings: Iterable[Finding], held: Sequence[Companion]) -> tuple[Finding, ...]:
    """`findings`, with what the processes that are left hold beside these."""
    return tuple(
        replace(finding, companions=(*finding.companions, *held)) if _tells_of_children(finding) else finding
        for finding in findings
    )


def _tells_of_children(finding: Finding) -> bool:
    return "children" in {finding.resource, *(companion.resource for companion in finding.companions)}


def _is_in_children(resource: Resource, samples: Sequence[Sample]) -> bool:
    """Whether most of what a resource grew by is in processes that were not there at the first sample."""
    first, last = samples[0], samples[-1]
    later = [each for pid, each in last.processes.items() if pid not in first.processes]
    return sum(each.get(resource, 0.0) for each in later) >= _MOST_OF * (
        last.values[resource] - first.values[resource]
    )


def _grown(resource: Resource, samples: Sequence[Sample]) -> tuple[InProcess, ...]:
    """From the first sample to the last: a process that was started meanwhile began with nothing."""
    if not samples or len(samples[-1].processes) < 2:
        return ()
    found = []
    for pid, values in samples[-1].processes.items():
        before = samples[0].processes.get(pid, {})
        if resource in values:
            found.append(InProcess(int(pid), values[resource] - before.get(resource, 0.0)))
    return tuple(sorted(found, key=lambda each: (-each.grown, each.pid)))
