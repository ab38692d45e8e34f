"""Servers of several processes (`uvicorn --workers`, gunicorn, a Node cluster): in which of them a resource grew."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import replace

from leakline.harness.data.model import Companion, Finding, Growth, InProcess, Resource, Sample

_MIN_SHARE = 0.7
"""Fraction of a growth from which processes that were started meanwhile explain it."""

_IN_CHILDREN = "grew in the processes that are left running, and is counted with them"
"""Why such a growth is no leak of its own."""


def by_process(findings: Iterable[Finding], samples: Sequence[Sample]) -> tuple[Finding, ...]:
    """`findings`, each with the growth of its resource in every process; unchanged if the server is one process."""
    return tuple(replace(finding, processes=_grown(finding.resource, samples)) for finding in findings)


def ended(with_agent: Iterable[int], now: Sample, lost: Container[int]) -> tuple[int, ...]:
    """Of the processes that had an agent at the first sample, those that have ended, or are among those `lost`."""
    return tuple(pid for pid in with_agent if str(pid) not in now.processes or pid in lost)


def without_repetition(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """`samples`, without values by process where the server was one process throughout: they repeat its total."""
    if any(len(sample.processes) > 1 for sample in samples):
        return tuple(samples)
    return tuple(replace(sample, processes={}) for sample in samples)


def separate_children(
    growths: Sequence[Growth], samples: Sequence[Sample]
) -> tuple[tuple[Growth, ...], tuple[Companion, ...]]:
    """(growths, what child processes retain) of a server that leaves child processes running.

    A growth that lies mostly in such processes is no leak of its own: it becomes clean in `growths` and is returned
    as something that they retain, for `attach_children`. Without a leak of children nothing changes.
    """
    if not any(g.resource == "children" and g.state == "leaking" for g in growths):
        return tuple(growths), ()
    inside = [
        g
        for g in growths
        if g.state == "leaking" and g.resource != "children" and _is_in_children(g.resource, samples)
    ]
    left = tuple(replace(g, state="clean", note=_IN_CHILDREN) if g in inside else g for g in growths)
    return left, tuple(Companion(g.resource, g.per_cycle, "held") for g in inside)


def attach_children(findings: Iterable[Finding], retained: Sequence[Companion]) -> tuple[Finding, ...]:
    """`findings`, with what the child processes retain (of `separate_children`) added to the finding of those."""
    return tuple(
        replace(finding, companions=(*finding.companions, *retained)) if _is_of_children(finding) else finding
        for finding in findings
    )


def _is_of_children(finding: Finding) -> bool:
    return "children" in {finding.resource, *(companion.resource for companion in finding.companions)}


def _is_in_children(resource: Resource, samples: Sequence[Sample]) -> bool:
    """Whether a resource grew mostly in processes that were started after the first sample."""
    first, last = samples[0], samples[-1]
    later = [each for pid, each in last.processes.items() if pid not in first.processes]
    return sum(each.get(resource, 0.0) for each in later) >= _MIN_SHARE * (
        last.values[resource] - first.values[resource]
    )


def _grown(resource: Resource, samples: Sequence[Sample]) -> tuple[InProcess, ...]:
    """Growth in each process from the first sample to the last, most first; one started meanwhile began with none.

    Empty where the server is one process.
    """
    if not samples or len(samples[-1].processes) < 2:
        return ()
    found = []
    for pid, values in samples[-1].processes.items():
        before = samples[0].processes.get(pid, {})
        if resource in values:
            found.append(InProcess(int(pid), values[resource] - before.get(resource, 0.0)))
    return tuple(sorted(found, key=lambda each: (-each.grown, each.pid)))
