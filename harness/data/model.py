"""The data that runs through leakline: samples, growth, findings, results. Frozen, and plain as JSON.

How it is worded for a person is `leakline.reports`' to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from leakline.harness.data.resources import BYTES, MEMORY, RESOURCES, Resource

__all__ = [
    "BYTES",
    "MEMORY",
    "RESOURCES",
    "CallStats",
    "Companion",
    "ConnectionRecord",
    "Finding",
    "Frame",
    "FrameKind",
    "Growth",
    "How",
    "InProcess",
    "Level",
    "Resource",
    "RunResult",
    "Sample",
    "Site",
    "State",
]

FrameKind = Literal["user", "library", "stdlib"]
How = Literal["held", "same line", "same function", "same rate", "in all"]


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a stack in the SUT."""

    file: str
    line: int
    function: str
    """Qualified name; empty when it is not known."""
    kind: FrameKind


@dataclass(frozen=True, slots=True)
class Site:
    """A place in code that made what leaked."""

    file: str
    """As a person would name it: from the working directory, or from where it is imported."""
    line: int
    function: str
    text: str = field(default="", compare=False)
    """What stands on the line."""
    context: tuple[tuple[int, str], ...] = field(default=(), compare=False)
    """The lines around it: (number, text)."""

    def __str__(self) -> str:
        """`FILE:LINE  FUNCTION`, as the patterns of an allow-list are written."""
        return f"{self.file}:{self.line}  {self.function}".rstrip()


@dataclass(frozen=True, slots=True)
class Sample:
    """All counters at one quiet point."""

    cycles: int
    """Calls made before it, since the first sample that counts."""
    at_s: float
    """Seconds since the run began."""
    values: Mapping[Resource, float]
    processes: Mapping[str, Mapping[Resource, float]] = field(default_factory=dict)
    """What each process has of it: {pid: {resource: number}}; not kept of a server that is one process."""


State = Literal["clean", "leaking", "inconclusive"]


@dataclass(frozen=True, slots=True)
class Growth:
    """How one resource grew with the number of calls: units per cycle with a confidence interval."""

    resource: Resource
    state: State
    per_cycle: float
    low: float
    high: float
    exact: bool
    """Whether every sample lies on the line."""
    cycles: int
    samples: int
    note: str = ""
    """Why it is what it is, when that is not plain from the numbers."""


@dataclass(frozen=True, slots=True)
class Level:
    """A resource that is judged by how high it is, not by how it grows."""

    resource: Resource
    state: State
    value: float
    """In the resource's unit: wake-ups a minute, bytes within a call, failures unsaid."""
    limit: float
    text: str
    """The measure in words."""


@dataclass(frozen=True, slots=True)
class Companion:
    """A resource that grew with a finding, from the same place."""

    resource: Resource
    per_cycle: float
    how: How
    """`held`: memory reached from what leaked. `same line`, `same function`: made there. `same rate`: grew in step.
    `in all`: the process's total, of several findings together."""


@dataclass(frozen=True, slots=True)
class InProcess:
    """How much a resource grew in all in one process of several."""

    pid: int
    grown: float


@dataclass(frozen=True, slots=True)
class Finding:
    """A resource whose growth is real, and the place that makes it."""

    resource: Resource
    per_cycle: float
    growth: Growth | Level
    sites: tuple[Site, ...] = ()
    """Where it is made, the most of it first; empty when that could not be seen."""
    companions: tuple[Companion, ...] = ()
    stack: tuple[Frame, ...] = ()
    """The stack of the first site, innermost frame first."""
    detail: str = ""
    kept_in: tuple[str, ...] = ()
    """What retains it: containers that grew with it, each as a person would name it, with its growth."""
    types: tuple[str, ...] = ()
    """Classes of the objects that stay, each with how many a call."""
    processes: tuple[InProcess, ...] = ()
    """Where the server has several processes: which of them it grew in, the most first."""

    @property
    def site(self) -> Site | None:
        """The line to look at first."""
        return self.sites[0] if self.sites else None


@dataclass(frozen=True, slots=True)
class CallStats:
    """How the calls of a run went."""

    made: int = 0
    as_scripted: int = 0
    failures: Mapping[str, int] = field(default_factory=dict)
    """{reason: number of calls}."""
    made_again: int = 0
    """Of the calls that failed: those of batches that failed whole, at a pace that was too fast for the server, and
    were made again more slowly."""

    @property
    def failed(self) -> int:
        """Calls that did not follow their script to its end."""
        return self.made - self.as_scripted


@dataclass(frozen=True, slots=True)
class Allocation:
    """Memory that one place allocates and that stays."""

    stack: tuple[Frame, ...]
    """Innermost first."""
    bytes_per_cycle: float
    number_per_cycle: float


@dataclass(frozen=True, slots=True)
class ConnectionRecord:
    """A connection or request that the fakes saw; times are seconds from the run's beginning."""

    kind: str
    call: str
    """SID of the call that it is of; empty when that is not known."""
    opened_s: float
    closed_s: float | None
    """None when it was still open at the end."""
    ending: str
    has_failed: bool
    """Whether it ended with an error of the fake's making."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """All that a run found out."""

    sut: str
    scenario: str
    state: State
    calls: CallStats
    seconds: float
    growths: tuple[Growth, ...]
    findings: tuple[Finding, ...]
    samples: tuple[Sample, ...]
    levels: tuple[Level, ...] = ()
    allowed: tuple[tuple[Finding, str], ...] = ()
    """What leaks and may, each with why."""
    unmeasured: Mapping[Resource, str] = field(default_factory=dict)
    """{resource: why it could not be measured}."""
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    """What was not seen of the server and should have been: with one, nothing is called clean."""
    directory: str = ""
    """The run's folder: the journal and the SUT's output."""
    allocations: tuple[Allocation, ...] = ()
    beside: tuple[str, ...] = ()
    """Names of other reports in the run's folder: memray's, of what C code allocates."""
    seen: tuple[ConnectionRecord, ...] = ()
    """The newest of what the fakes saw."""
    faults: Mapping[str, int] = field(default_factory=dict)
    """{rule: how often it struck}."""
    about: Mapping[str, str] = field(default_factory=dict)
    """The run's circumstances: command, machine, versions."""

    @property
    def leaks(self) -> tuple[Finding, ...]:
        """All that leaks, permitted or not."""
        return (*self.findings, *(finding for finding, _ in self.allowed))

    @property
    def exit_code(self) -> int:
        """0 clean, 1 leaking, 3 inconclusive."""
        return {"clean": 0, "leaking": 1, "inconclusive": 3}[self.state]

    def to_json(self) -> dict[str, Any]:
        """The result as plain data."""
        return asdict(self) | {
            "unmeasured": dict(self.unmeasured),
            "about": dict(self.about),
            "exit_code": self.exit_code,
        }
