"""The data of a run: samples, growths, findings, results. Frozen, and plain as JSON; `leakline.reports` words it.

The names of the fields are those of the journal and of the JSON report: renaming one breaks what is stored.
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
"""Whose code a frame is: the server's own, an installed package's, or the standard library's."""

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
    """An allocation site: a line of code that made what leaked."""

    file: str
    """Path from the working directory, or from where it is imported."""
    line: int
    function: str
    text: str = field(default="", compare=False)
    """Source text of the line."""
    context: tuple[tuple[int, str], ...] = field(default=(), compare=False)
    """The lines around it and itself: (number, text)."""

    def __str__(self) -> str:
        """`FILE:LINE  FUNCTION`, as the patterns of an allow-list are written."""
        return f"{self.file}:{self.line}  {self.function}".rstrip()


@dataclass(frozen=True, slots=True)
class Sample:
    """The values of all counters at one quiet point."""

    cycles: int
    """Calls made since the first sample, which comes after the warm-up."""
    at_s: float
    """Seconds since the run began."""
    values: Mapping[Resource, float]
    processes: Mapping[str, Mapping[Resource, float]] = field(default_factory=dict)
    """The share of each process: {pid: {resource: number}}; empty in a result where the server is one process."""


State = Literal["clean", "leaking", "inconclusive"]
"""The verdict on a resource, and the outcome of a run."""


@dataclass(frozen=True, slots=True)
class Growth:
    """How one resource grew with the number of calls: the slope in units per call, with a confidence interval."""

    resource: Resource
    state: State
    per_cycle: float
    """The slope: things, or bytes, per call."""
    low: float
    high: float
    """Ends of the slope's 99 % confidence interval, in the same unit."""
    exact: bool
    """Whether it is linear: every sample lies on the fitted line. Never so of bytes."""
    cycles: int
    """Calls from the first sample to the last."""
    samples: int
    """Number of samples."""
    note: str = ""
    """The reason of the state, where the numbers do not show it."""


@dataclass(frozen=True, slots=True)
class Level:
    """A resource that is judged by its height, not by its growth."""

    resource: Resource
    state: State
    value: float
    """In the resource's unit: wake-ups a minute, bytes within a call, failures that were not logged."""
    limit: float
    """In the same unit."""
    text: str
    """The measurement in words."""


@dataclass(frozen=True, slots=True)
class Companion:
    """A resource that grew with a finding and belongs to the same leak."""

    resource: Resource
    per_cycle: float
    how: How
    """Why it belongs: `held`: retained by what leaked. `same line`, `same function`: made there. `same rate`: grew in
    step. `in all`: the process total, of several findings together."""


@dataclass(frozen=True, slots=True)
class InProcess:
    """The growth of a resource in one process of several."""

    pid: int
    grown: float
    """From the first sample to the last, in things or bytes."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A leak: a resource that grows, or a level that is too high, with its allocation sites."""

    resource: Resource
    per_cycle: float
    """Growth per call, which may be a part of the resource's; of a level, its value."""
    growth: Growth | Level
    """The judgement of the whole resource."""
    sites: tuple[Site, ...] = ()
    """The allocation sites, the one with the largest share first; empty when they are not known."""
    companions: tuple[Companion, ...] = ()
    stack: tuple[Frame, ...] = ()
    """The stack of the first site, innermost frame first."""
    detail: str = ""
    """What else is known of it, such as the peer of a connection; stands for the site when that is not known."""
    kept_in: tuple[str, ...] = ()
    """Its retainers: containers that grew with it, each by its qualified name with its growth."""
    types: tuple[str, ...] = ()
    """Classes of the objects that survive, each with its number per call."""
    processes: tuple[InProcess, ...] = ()
    """The growth by process, the most first; empty where the server is one process."""

    @property
    def site(self) -> Site | None:
        """The allocation site with the largest share, if any is known."""
        return self.sites[0] if self.sites else None


@dataclass(frozen=True, slots=True)
class CallStats:
    """How the calls of a run went."""

    made: int = 0
    """Calls made, those that failed included."""
    as_scripted: int = 0
    """Of these, calls that followed their script to its end."""
    failures: Mapping[str, int] = field(default_factory=dict)
    """{reason: number of calls}."""
    made_again: int = 0
    """Of the calls that failed: those of batches in which every call failed, since the pace was too fast for the
    server, and which were repeated at a slower pace."""

    @property
    def failed(self) -> int:
        """Calls that did not follow their script to its end."""
        return self.made - self.as_scripted


@dataclass(frozen=True, slots=True)
class Allocation:
    """Memory that survives, by the stack that allocated it."""

    stack: tuple[Frame, ...]
    """Innermost first."""
    bytes_per_cycle: float
    number_per_cycle: float


@dataclass(frozen=True, slots=True)
class ConnectionRecord:
    """A connection or request to the fakes, of their ledger; times are seconds from the run's beginning."""

    kind: str
    """Kind of connection, as in the ledger: `realtime`, `rest`."""
    call: str
    """SID of its call; empty when that is not known."""
    opened_s: float
    closed_s: float | None
    """None when it was still open at the end."""
    ending: str
    """How it ended, in words; empty when it was still open."""
    has_failed: bool
    """Whether it ended with an error that the fake made."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """The result of a run."""

    sut: str
    """Name of the server under test."""
    scenario: str
    """Name of the scenario."""
    state: State
    """The outcome."""
    calls: CallStats
    seconds: float
    """Duration of the run."""
    growths: tuple[Growth, ...]
    findings: tuple[Finding, ...]
    """The leaks that the policy does not permit, the most telling first."""
    samples: tuple[Sample, ...]
    levels: tuple[Level, ...] = ()
    allowed: tuple[tuple[Finding, str], ...] = ()
    """The leaks that the policy permits, each with the reason."""
    unmeasured: Mapping[Resource, str] = field(default_factory=dict)
    """{resource: why it could not be measured}."""
    notes: tuple[str, ...] = ()
    """Remarks for a person, the reasons of an inconclusive outcome among them."""
    doubts: tuple[str, ...] = ()
    """Parts of the server that should have been observed and were not; with any, the outcome is never clean."""
    directory: str = ""
    """The run's folder, with the journal and the SUT's output; empty where there is none."""
    allocations: tuple[Allocation, ...] = ()
    """Memory that survives, by stack, the most first."""
    beside: tuple[str, ...] = ()
    """File names of other artifacts in the run's folder: memray's flame graphs of what C code allocates."""
    seen: tuple[ConnectionRecord, ...] = ()
    """The newest connections and requests in the fakes' ledger."""
    faults: Mapping[str, int] = field(default_factory=dict)
    """{fault rule: how often it struck}."""
    about: Mapping[str, str] = field(default_factory=dict)
    """The run's circumstances: command, machine, versions."""

    @property
    def leaks(self) -> tuple[Finding, ...]:
        """All leaks, permitted or not."""
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
