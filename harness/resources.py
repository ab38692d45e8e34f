"""The resources that are counted: their names, and which of them are bytes."""

from __future__ import annotations

from typing import Literal

Resource = Literal[
    "connections",
    "sockets",
    "tasks",
    "threads",
    "timers",
    "listeners",
    "fds",
    "children",
    "promises",
    "objects",
    "heap",
    "rss",
]
"""A thing counted. `heap` and `rss` are bytes, the others are numbers of things."""

RESOURCES: tuple[Resource, ...] = (
    "connections",
    "sockets",
    "tasks",
    "threads",
    "timers",
    "listeners",
    "fds",
    "children",
    "promises",
    "objects",
    "heap",
    "rss",
)
"""All resources, the most telling first: a finding that several share is named after the first of them."""

BYTES: frozenset[Resource] = frozenset({"heap", "rss"})
"""The resources that are measured in bytes, and so with noise."""

MEMORY: frozenset[Resource] = BYTES | {"promises", "objects"}
"""The resources that grow with whatever leaks: beside another they tell how much it holds, alone they are a leak."""
