"""How much of the heap's growth the surveys explain: what to trace next, and which survey to believe.

Pure functions.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from leakline.harness.data.model import MEMORY, Growth, Resource
from leakline.harness.data.survey import Survey
from leakline.harness.judge.growth import FLOORS

MOST_UNEXPLAINED = 0.3
"""The largest part of the heap's growth that may stay unexplained without more being traced."""

MINIMUM_TEXT_SHARE = 0.2
"""The least part of the heap's growth that a text or a buffer must have grown by to be a reason for it.

One that is replaced with each call (what was said last) may be longer this time than it was the last.
"""

WAITING: tuple[Resource, ...] = ("promises", "async_generators")
"""The resources that wait for something else. Where another resource leaks they wait for that, and are no leak."""


def needs_deep_trace(growths: Sequence[Growth], survey: Survey) -> bool:
    """Whether the heap grows by more than what leaks retains, so that the lines that allocate it must be found."""
    leaking = {g.resource: g for g in growths if g.state == "leaking"}
    if "heap" in leaking:
        return is_unexplained(leaking["heap"].per_cycle - _retained(leaking, survey), leaking["heap"])
    return "objects" in leaking and leaking.keys() <= MEMORY


def with_pieces(growths: Sequence[Growth], survey: Survey, deep: Survey) -> Survey:
    """`deep` with the texts and buffers that `survey` saw grow, where none was moved in the few calls of `deep`.

    Their bytes are scaled to the number of calls of `deep`. Those that grew by little (MINIMUM_TEXT_SHARE) are left
    out.
    """
    least = MINIMUM_TEXT_SHARE * next((g.per_cycle for g in growths if g.resource == "heap"), 0.0)
    own, others = (
        tuple(row for row in each.pieces if row.size_bytes >= least * each.cycles) for each in (deep, survey)
    )
    share = deep.cycles / survey.cycles
    scaled = tuple(replace(row, size_bytes=round(row.size_bytes * share)) for row in others)
    return replace(deep, pieces=own or scaled)


def needs_native_trace(growths: Sequence[Growth], survey: Survey, deep: Survey) -> bool:
    """Whether the heap grows by more than any line of Python's allocates, so that C code must be traced."""
    leaking = {g.resource: g for g in growths if g.state == "leaking"}
    return "heap" in leaking and is_unexplained(_left_by(leaking, survey, deep), leaking["heap"])


def _left_by(leaking: Mapping[Resource, Growth], survey: Survey, deep: Survey) -> float:
    """Bytes a call by which the heap grows, and neither what leaks retains nor any line of `deep` allocates."""
    return leaking["heap"].per_cycle - _retained(leaking, survey) - deep.allocated_per_cycle


def clearest(growths: Sequence[Growth], survey: Survey, deep: Survey, native: Survey) -> Survey:
    """That of two surveys of allocations which explains best what the heap grows by; `heap` must leak.

    `native` is memray's, which sees what C code allocates and not Python's small objects; nor that memory is freed by
    a call through a pointer, such as ctypes makes. So what keeps more a call than the heap grows by is left out.
    """
    leaking = {g.resource: g for g in growths if g.state == "leaking"}
    most = (1 + MOST_UNEXPLAINED) * leaking["heap"].per_cycle * native.cycles
    native = replace(native, heap=tuple(row for row in native.heap if row.size_bytes <= most))
    return min(deep, native, key=lambda each: abs(_left_by(leaking, survey, each)))


def _retained(leaking: Collection[Resource], survey: Survey) -> float:
    """Bytes a call that what leaks retains; what waits (a generator in a task) counts where nothing else leaks."""
    things = [r for r in leaking if r not in MEMORY] or [r for r in WAITING if r in leaking]
    return sum(row.size_bytes for r in things for row in survey.made.get(r, ())) / survey.cycles


def is_unexplained(left: float, heap: Growth) -> bool:
    """Whether `left` bytes a call of the heap's growth are more than may stay unexplained."""
    return left > max(FLOORS["heap"], MOST_UNEXPLAINED * heap.per_cycle)
