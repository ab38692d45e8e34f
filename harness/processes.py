"""Servers of several processes (`uvicorn --workers`, gunicorn, a Node cluster): which of them it is that grew."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from harness.model import Finding, InProcess, Sample


def by_process(findings: Iterable[Finding], samples: Sequence[Sample]) -> tuple[Finding, ...]:
    """`findings`, each with how much its resource grew in every process; as they are where there is one process."""
    return tuple(replace(finding, processes=_grown(finding, samples)) for finding in findings)


def _grown(finding: Finding, samples: Sequence[Sample]) -> tuple[InProcess, ...]:
    """From the first sample that knows a process to the last: one that was started meanwhile began with nothing."""
    if not samples or not samples[-1].processes:
        return ()
    found = []
    for pid, values in samples[-1].processes.items():
        before = samples[0].processes.get(pid, {})
        if finding.resource in values:
            found.append(InProcess(int(pid), values[finding.resource] - before.get(finding.resource, 0.0)))
    return tuple(sorted(found, key=lambda each: (-each.grown, each.pid)))
