"""Layouts of the report's drawings: the flame graph and the timeline. Pure functions.

Lengths are in the drawings' own unit, of which their width is `WIDTH`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from leakline.harness.data.model import Allocation, ConnectionRecord, Frame
from leakline.harness.data.words import amount

WIDTH = 1000.0
_BOX_HEIGHT = 20
_CHARACTER_WIDTH = 6.2
_MIN_BOX_WIDTH = 1.0
_MAX_LANES = 24
_LANE_HEIGHT = 6


@dataclass(frozen=True, slots=True)
class Box:
    """A frame of the flame graph; its width is in proportion to the memory that it and its callees allocated."""

    x: float
    y: float
    width: float
    label: str
    title: str
    kind: str
    """A `FrameKind`."""


@dataclass(slots=True)
class _Node:
    """A frame with its callees."""

    frame: Frame | None = None
    size: float = 0.0
    """Bytes per call, those of its callees included."""
    children: dict[tuple[str, int, str], _Node] = field(default_factory=dict)


def flame(allocations: Sequence[Allocation]) -> tuple[Box, ...]:
    """The boxes of the flame graph, the outermost frames at y = 0 and each frame below its caller."""
    root = _Node()
    for allocation in allocations:
        root.size += allocation.bytes_per_cycle
        node = root
        for frame in reversed(_folded(allocation.stack)):
            node = node.children.setdefault((frame.file, frame.line, frame.function), _Node(frame))
            node.size += allocation.bytes_per_cycle
    boxes: list[Box] = []
    _lay(root, 0.0, 0, WIDTH / root.size if root.size else 0.0, boxes)
    return tuple(boxes)


def _folded(stack: Sequence[Frame]) -> list[Frame]:
    """The stack without the inner frames of each sequence of frames that are not the user's."""
    return [
        frame
        for number, frame in enumerate(stack)
        if frame.kind == "user"
        or number in (0, len(stack) - 1)
        or stack[number - 1].kind == "user"
        or stack[number + 1].kind == "user"
    ]


def _lay(node: _Node, x: float, depth: int, scale: float, boxes: list[Box]) -> None:
    for child in sorted(node.children.values(), key=lambda each: -each.size):
        width = child.size * scale
        if width < _MIN_BOX_WIDTH or child.frame is None:
            continue
        frame = child.frame
        name = frame.function or frame.file.rpartition("/")[2]
        title = f"{name}  {frame.file}:{frame.line}  {amount('heap', child.size)} a call"
        label = _fitting(f"{name}:{frame.line}", width)
        boxes.append(Box(round(x, 2), depth * _BOX_HEIGHT, round(width, 2), label, title, frame.kind))
        _lay(child, x, depth + 1, scale, boxes)
        x += width


def _fitting(text: str, width: float) -> str:
    most = int((width - 8) / _CHARACTER_WIDTH)
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    if len(text) <= most:
        return text
    return text[: most - 1] + "…" if most > 3 else ""


@dataclass(frozen=True, slots=True)
class Bar:
    """A connection in the timeline."""

    x: float
    y: float
    width: float
    title: str
    kind: str
    """`ok`, `open` (still so at the run's end) or `failed`."""


@dataclass(frozen=True, slots=True)
class Label:
    """Text at a place."""

    x: float
    y: float
    text: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """Connections over the duration of the run, in lanes by kind."""

    bars: tuple[Bar, ...]
    labels: tuple[Label, ...]
    height: float


def timeline(seen: Sequence[ConnectionRecord], end_s: float) -> Timeline:
    """The timeline of the connections `seen` in a run that ended after `end_s` seconds.

    Where more are open at once than a kind has lanes, the others share its last lane.
    """
    if not seen:
        return Timeline((), (), 0)
    start = min(each.opened_s for each in seen)
    end = max(end_s, *(each.closed_s or each.opened_s for each in seen), start + 0.001)
    scale = WIDTH / (end - start)
    bars: list[Bar] = []
    labels: list[Label] = []
    y = 0.0
    for kind in sorted({each.kind for each in seen}):
        labels.append(Label(0, y + 12, kind))
        y += 18
        free: list[float] = []
        for each in sorted((s for s in seen if s.kind == kind), key=lambda s: s.opened_s):
            until = end if each.closed_s is None else each.closed_s
            lane = _lane(free, each.opened_s, until)
            state = "open" if each.closed_s is None else "failed" if each.has_failed else "ok"
            how = each.ending or "still open at the end"
            title = f"{kind} {each.call}: {each.opened_s:.1f} s to {until:.1f} s, {how}"
            width = max(1.5, (until - each.opened_s) * scale)
            bars.append(
                Bar(round((each.opened_s - start) * scale, 2), y + lane * _LANE_HEIGHT, round(width, 2), title, state)
            )
        y += len(free) * _LANE_HEIGHT + 6
    y += 16
    labels += [Label(0, y - 4, f"{start:.0f} s"), Label(WIDTH - 40, y - 4, f"{end:.0f} s")]
    return Timeline(tuple(bars), tuple(labels), y)


def _lane(free: list[float], opened: float, until: float) -> int:
    """The first lane that is free when a connection `opened`; it is occupied `until` that closes."""
    for number, since in enumerate(free):
        if since <= opened:
            free[number] = until
            return number
    if len(free) < _MAX_LANES:
        free.append(until)
        return len(free) - 1
    free[-1] = max(free[-1], until)
    return len(free) - 1


def counted(seen: Iterable[ConnectionRecord]) -> list[tuple[str, int, int, int]]:
    """(kind, number of connections, of these still open, of these failed) of each kind."""
    number: Counter[str] = Counter()
    still: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for each in seen:
        number[each.kind] += 1
        still[each.kind] += each.closed_s is None
        failed[each.kind] += each.has_failed
    return [(kind, number[kind], still[kind], failed[kind]) for kind in sorted(number)]
