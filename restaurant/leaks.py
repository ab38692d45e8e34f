"""The leaks that can be switched on, and how they are named in RESTAURANT_LEAKS.

Each is a mistake seen in real voice servers. The bad way stands beside the good way, in the function that
is named here.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from enum import StrEnum

VARIABLE = "RESTAURANT_LEAKS"


class Leak(StrEnum):
    """A leak that the server can be given."""

    WEBSOCKET_LISTENERS = "websocket_listeners"
    """A call's listeners stay registered after it has ended (`bridge.CallSession.close`)."""

    TIMEOUT_TIMERS = "timeout_timers"
    """A timeout's timer runs on when the operation was quicker (`timeouts.with_timeout`)."""


def parse(text: str) -> AbstractSet[Leak]:
    """The leaks that `text` names: `none`, `all`, or names with commas between. Raises ValueError."""
    text = text.strip()
    if text in ("", "none"):
        return frozenset()
    if text == "all":
        return frozenset(Leak)
    chosen = set()
    for name in text.split(","):
        try:
            chosen.add(Leak(name.strip()))
        except ValueError:
            known = ", ".join(Leak)
            raise ValueError(f"expected none, all, or of {known}; found {name.strip()!r}") from None
    return frozenset(chosen)
