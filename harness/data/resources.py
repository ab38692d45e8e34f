"""The resources that are counted: their names, and which of them are bytes."""

from __future__ import annotations

from typing import Literal, cast, get_args

Resource = Literal[
    "connections",
    "sockets",
    "tasks",
    "threads",
    "timers",
    "listeners",
    "fds",
    "children",
    "handles",
    "promises",
    "async_generators",
    "temp_files",
    "garbage",
    "objects",
    "heap",
    "rss",
    "peak_heap",
    "wakeups",
    "silent_errors",
]
"""A thing counted. The last three are levels: they are judged by how high they are, not by how they grow. A user's
own numbers stand beside these (`gauge`)."""

RESOURCES: tuple[Resource, ...] = get_args(Resource)
"""All resources, the most telling first: a finding that several share is named after the first of them."""

_GAUGE = "gauge "


def gauge(name: str) -> Resource:
    """The resource that is a user's own number, which has no place in the list."""
    return cast(Resource, _GAUGE + name)


def rank(resource: Resource) -> int:
    """How telling a resource is, from 0; a user's own comes last."""
    return RESOURCES.index(resource) if resource in RESOURCES else len(RESOURCES)


BYTES: frozenset[Resource] = frozenset({"heap", "rss", "peak_heap"})
"""The resources that are measured in bytes, and so with noise."""

MEMORY: frozenset[Resource] = frozenset({"heap", "rss", "promises", "async_generators", "objects"})
"""The resources that grow with whatever leaks: beside another they tell how much it holds, alone they are a leak."""
