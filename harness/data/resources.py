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
"""What is counted or measured. The last three are levels, judged by their height and not by their growth. A user's
own numbers (`gauge`) come in addition."""

RESOURCES: tuple[Resource, ...] = get_args(Resource)
"""All resources, the most telling first: a leak of several is named after the first of them."""

_GAUGE = "gauge "


def gauge(name: str) -> Resource:
    """The resource of a user's own number, named `gauge NAME`; it is not in RESOURCES."""
    return cast(Resource, _GAUGE + name)


def rank(resource: Resource) -> int:
    """Position of a resource in RESOURCES, from 0, the most telling; a user's own comes last."""
    return RESOURCES.index(resource) if resource in RESOURCES else len(RESOURCES)


BYTES: frozenset[Resource] = frozenset({"heap", "rss", "peak_heap"})
"""The resources that are measured in bytes, and so are noisy; all others are exact counts."""

MEMORY: frozenset[Resource] = frozenset({"heap", "rss", "promises", "async_generators", "objects"})
"""The resources that grow with any leak: when another resource grows too, they show how much it retains; when none
does, they are a leak of their own."""
