"""The resources that are counted: their names, and which of them are bytes."""

from __future__ import annotations

from typing import Literal, get_args

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
    "peak_heap",
    "wakeups",
    "silent_errors",
]
"""A thing counted. The last three are levels: they are judged by how high they are, not by how they grow."""

RESOURCES: tuple[Resource, ...] = get_args(Resource)
"""All resources, the most telling first: a finding that several share is named after the first of them."""

BYTES: frozenset[Resource] = frozenset({"heap", "rss", "peak_heap"})
"""The resources that are measured in bytes, and so with noise."""

MEMORY: frozenset[Resource] = frozenset({"heap", "rss", "promises", "objects"})
"""The resources that grow with whatever leaks: beside another they tell how much it holds, alone they are a leak."""
