"""Which trace windows it takes to attribute what leaks: the one plan of soaks, load runs and `no_growth`.

A trace window is a few more calls while the agent notes where things are made; what survives it is attributed. The
plan is a generator: it yields the window that is due and is sent what survived it, so that whoever drives it decides
how calls are made and how a process is asked.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Literal

from leakline.harness.attribute.unexplained import clearest, needs_deep_trace, needs_native_trace, with_pieces
from leakline.harness.data.model import MEMORY, Growth
from leakline.harness.data.survey import Survey

Depth = Literal["things", "stacks", "native"]
"""What is noted: where things are made (timers, tasks, sockets, ...), with the innermost line of each allocation; the
whole stack of each allocation; what C code allocates."""

LEAST_CYCLES, MOST_CYCLES = 13, 101
"""Calls of the first window. Both are primes: what is made once in so many calls does not divide them."""

_LEAST_SURVIVORS = 4
"""Survivors of the rarest leak that the first window is long enough for."""

DEEP_CYCLES = 5
"""Calls of the deeper windows: few, since whole stacks of allocations make a server ten times slower."""


@dataclass(frozen=True, slots=True)
class Window:
    """A trace window that is due."""

    depth: Depth
    cycles: int
    """Calls to make in it."""


@dataclass(frozen=True, slots=True)
class Traced:
    """What survived the windows."""

    survey: Survey
    """Of the first one."""
    deep: Survey | None = None
    """Of the one that explains the heap's growth best; None where the first one explains enough of it."""


def trace_plan(growths: Sequence[Growth]) -> Generator[Window, Survey | None, Traced]:
    """Yields each window that is due, is sent what survived it, and returns all that was found.

    A native window may be answered with None: it could not be traced.
    """
    rarest = min((g.per_cycle for g in growths if g.state == "leaking" and g.resource not in MEMORY), default=1.0)
    cycles = min(MOST_CYCLES, max(LEAST_CYCLES, math.ceil(_LEAST_SURVIVORS / rarest)))
    survey = yield Window("things", cycles)
    if survey is None:
        raise ValueError("the first trace window was not answered")
    if not needs_deep_trace(growths, survey):
        return Traced(survey)
    stacks = yield Window("stacks", DEEP_CYCLES)
    if stacks is None:
        return Traced(survey)
    deep = with_pieces(growths, survey, stacks)
    if needs_native_trace(growths, survey, deep):
        native = yield Window("native", DEEP_CYCLES)
        if native is not None:
            deep = clearest(growths, survey, deep, native)
    return Traced(survey, deep)
