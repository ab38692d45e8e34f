"""The menu, the calls' carts, and the tools by which the model fills a cart."""

from __future__ import annotations

import json
from collections.abc import Collection, MutableMapping
from dataclasses import dataclass
from typing import Any

from cachetools import TTLCache

from leakline.restaurant.intervals import Interval
from leakline.restaurant.leaks import Leak

MENU = ("burger", "cheeseburger", "fries", "salad", "cola", "water")

TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "name": "add_to_cart",
        "description": "Put something on the menu into the caller's cart.",
        "parameters": {
            "type": "object",
            "properties": {"item": {"type": "string"}, "quantity": {"type": "integer"}},
            "required": ["item", "quantity"],
        },
    },
    {
        "type": "function",
        "name": "read_menu",
        "description": "What is on the menu.",
        "parameters": {"type": "object", "properties": {}},
    },
]

_MOST_CARTS = 10_000
_POLL_S = 0.01


@dataclass(frozen=True)
class OrderItem:
    """A quantity of one item on the menu."""

    name: str
    quantity: int


class Carts:
    """The carts of all calls. One that nobody closes expires by itself, without polling."""

    def __init__(self, keep_s: float, leaks: Collection[Leak] = ()) -> None:
        self._leak_carts = Leak.UNBOUNDED_CARTS in leaks
        self._polls = Leak.CACHE_POLLING in leaks
        self._expiring: TTLCache[str, list[OrderItem]] = TTLCache(_MOST_CARTS, keep_s)
        self._carts: MutableMapping[str, list[OrderItem]] = {} if self._leak_carts else self._expiring
        self._poll: Interval | None = None

    def __len__(self) -> int:
        return len(self._carts)

    def start(self) -> None:
        """Start, with the server."""
        if self._polls:
            # The bad way: the process wakes a hundred times a second, for carts that expire on access anyway.
            self._poll = Interval(_POLL_S, self._expire)

    def stop(self) -> None:
        """Drop all carts, when the server stops."""
        if self._poll is not None:
            self._poll.stop()
        self._carts.clear()

    def add(self, call_sid: str, *items: OrderItem) -> None:
        """Put items into a call's cart."""
        self._carts.setdefault(call_sid, []).extend(items)

    def close(self, call_sid: str) -> tuple[OrderItem, ...]:
        """Remove a call's cart, and return what was in it."""
        if self._leak_carts:
            return tuple(self._carts.get(call_sid, ()))  # the bad way: read, and kept
        return tuple(self._carts.pop(call_sid, ()))

    def _expire(self) -> None:
        self._expiring.expire()


class MenuTools:
    """Carries out the model's function calls."""

    def __init__(self, carts: Carts) -> None:
        self._carts = carts

    def call(self, call_sid: str, name: str, arguments: str) -> str:
        """The result of one function call, as JSON for the model: an error message for wrong arguments."""
        try:
            given = json.loads(arguments or "{}")
            if name == "read_menu":
                return json.dumps({"menu": MENU})
            if name != "add_to_cart":
                raise ValueError(f"there is no tool {name!r}")
            item, quantity = str(given["item"]), int(given["quantity"])
            if item not in MENU or quantity < 1:
                raise ValueError(f"{quantity} {item!r} cannot be ordered; the menu has {', '.join(MENU)}")
        except (ValueError, TypeError, KeyError) as error:
            return json.dumps({"ok": False, "error": str(error)})
        self._carts.add(call_sid, OrderItem(item, quantity))
        return json.dumps({"ok": True})
