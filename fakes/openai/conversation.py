"""The state of a Realtime session: the numbering of its ids, and the conversation's items in order."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from itertools import count
from typing import Any

from leakline.fakes.openai.errors import ClientError

Event = dict[str, Any]
"""One server event, or one item, as the JSON that goes over the wire."""


class Numbering:
    """Makes the ids of one session; the same session number gives the same ids in every run."""

    def __init__(self, session_number: int) -> None:
        self.session_number = session_number
        self._session = f"{session_number:08d}"
        self._numbers = count(1)

    def id(self, kind: str) -> str:
        """A new id: `item_00000007000012`."""
        return f"{kind}_{self._session}{next(self._numbers):06d}"

    def event(self, kind: str, **fields: Any) -> Event:
        """A server event of type `kind` with an id of its own."""
        return {"type": kind, "event_id": self.id("event"), **fields}


class Conversation:
    """The items of the default conversation, in order."""

    def __init__(self) -> None:
        self._items: dict[str, Event] = {}

    def __iter__(self) -> Iterator[Event]:
        return iter(self._items.values())

    @property
    def last_id(self) -> str | None:
        """Id of the last item in order; None when there is no item."""
        return next(reversed(self._items), None)

    def get(self, item_id: object, param: str = "item_id") -> Event:
        """The item with this id. Raises ClientError, naming `param`, when there is none."""
        item = self._items.get(item_id) if isinstance(item_id, str) else None
        if item is None:
            raise ClientError(
                f"Item with item_id {item_id!r} does not exist in the conversation.",
                code="item_not_found",
                param=param,
            )
        return item

    def add(self, item: Event, after: object = None) -> str | None:
        """Add `item` at the end, after the item with id `after`, or first ("root").

        Returns the id of the item before it, or None. Raises ClientError when there is no item `after`.
        """
        if after is None or after == self.last_id:
            previous = self.last_id
            self._items[item["id"]] = item
            return previous
        if after == "root":
            self._items = {item["id"]: item, **self._items}
            return None
        previous_item = self.get(after, "previous_item_id")
        order = list(self._items.values())
        at = 1 + order.index(previous_item)
        self._items = {i["id"]: i for i in [*order[:at], item, *order[at:]]}
        return str(previous_item["id"])

    def before(self, item_id: str) -> str | None:
        """Id of the item before `item_id`, or None."""
        keys = list(self._items)
        at = keys.index(item_id) if item_id in self._items else 0
        return keys[at - 1] if at else None

    def remove(self, item_id: object) -> Event:
        """Remove and return the item with this id. Raises ClientError when there is none."""
        return self._items.pop(self.get(item_id)["id"])


def copy_of(item: Event) -> Event:
    """A deep copy of an item for an event, which must not change when the item does."""
    return deepcopy(item)
