"""How much of the heap's growth the surveys explain: what to watch next, and which survey to believe.

Pure functions.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from leakline.harness.data.model import MEMORY, Growth, Resource
from leakline.harness.data.survey import Survey
from leakline.harness.judge.growth import FLOORS

UNEXPLAINED = 0.3
"""Part of the growth that may be left without more being looked for."""
TELLING = 0.2
"""Part of the heap's growth that a text must grow by: one may be longer this time than it was the last."""
WAITING: tuple[Resource, ...] = ("promises", "async_generators")
"""What waits: beside another leak it waits for that."""


def needs_deep_watch(growths: Sequence[Growth], survey: Survey) -> bool:
    """Whether the heap grows by more than what leaks holds, so that its own lines must be found."""
    leaking = {g.resource: g for g in growths if g.state == "leaking"}
    if "heap" in leaking:
        return is_unexplained(leaking["heap"].per_cycle - _held(leaking, survey), leaking["heap"])
    return "objects" in leaking and leaking.keys() <= MEMORY


def with_pieces(growths: Sequence[Growth], survey: Survey, deep: Survey) -> Survey:
    """`deep` with the pieces that `survey` saw grow, where none had to be moved in the few calls of `deep`."""
    least = TELLING * next((g.per_cycle for g in growths if g.resource == "heap"), 0.0)
    own, others = (
        tuple(row for row in each.buffers if row.size_bytes >= least * each.cycles) for each in (deep, survey)
    )
    share = deep.cycles / survey.cycles
    scaled = tuple(replace(row, size_bytes=round(row.size_bytes * share)) for row in others)
    return replace(deep, buffers=own or scaled)


def needs_native_watch(growths: Sequence[Growth], survey: Survey, deep: Survey) -> bool:
    """Whether the heap grows by more than any line of Python's allocates, so that C code must be traced."""
    leaking = {g.resource: g for g in growths if g.state == "leaking"}
    return "heap" in leaking and is_unexplained(_left_by(leaking, survey, deep), leaking["heap"])


def _left_by(leaking: Mapping[Resource, Growth], survey: Survey, deep: Survey) -> float:
    """Bytes a call by which the heap grows, and neither what leaks holds nor any line of `deep` allocates."""
    return leaking["heap"].per_cycle - _held(leaking, survey) - deep.allocated_per_cycle


def clearest(growths: Sequence[Growth], survey: Survey, deep: Survey, native: Survey) -> Survey:
    """That of two surveys of allocations which explains best what the heap grows by.

    `native` is memray's, which sees what C code allocates and not Python's small objects; nor that memory is freed by
    a call through a pointer, such as ctypes makes. A line that keeps more a call than there is was seen so: it is
    left out.
    """
    leaking = {g.resource: g for g in growths if g.state == "leaking"}
    most = (1 + UNEXPLAINED) * leaking["heap"].per_cycle * native.cycles
    native = replace(native, heap=tuple(row for row in native.heap if row.size_bytes <= most))
    return min(deep, native, key=lambda each: abs(_left_by(leaking, survey, each)))


def _held(leaking: Collection[Resource], survey: Survey) -> float:
    """Bytes a call that what leaks holds: what waits beside it (a generator in a task) is charged to no line."""
    things = [r for r in leaking if r not in MEMORY] or [r for r in WAITING if r in leaking]
    return sum(row.size_bytes for r in things for row in survey.made.get(r, ())) / survey.cycles


def is_unexplained(left: float, heap: Growth) -> bool:
    """Whether `left` bytes a call of the heap's growth are more than may be left."""
    return left > max(FLOORS["heap"], UNEXPLAINED * heap.per_cycle)
