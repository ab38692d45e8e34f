"""From what was said to what was ordered: a chat completion, checked against the menu."""

from __future__ import annotations

import json
from dataclasses import dataclass

from openai import AsyncOpenAI

from restaurant.timeouts import with_timeout

MENU = ("burger", "cheeseburger", "fries", "salad", "cola", "water")

_INSTRUCTIONS = (
    'You read phone orders. Answer with JSON alone: {"items": [{"name": NAME, "quantity": NUMBER}]}. '
    "NAME is one of: " + ", ".join(MENU)
)


@dataclass(frozen=True)
class OrderItem:
    """So many of one thing on the menu."""

    name: str
    quantity: int


class OrderReader:
    """Reads an order out of a call's transcript."""

    def __init__(self, client: AsyncOpenAI, *, model: str, timeout_s: float, leak_timer: bool) -> None:
        self._client = client
        self._model = model
        self._timeout_s = timeout_s
        self._leak_timer = leak_timer

    async def read(self, transcript: str) -> tuple[OrderItem, ...]:
        """The items ordered; what is not on the menu is left out. Raises TimeoutError, openai.APIError."""
        completion = await with_timeout(
            self._client.chat.completions.create(
                model=self._model,
                messages=[
                    {"role": "system", "content": _INSTRUCTIONS},
                    {"role": "user", "content": transcript},
                ],
            ),
            self._timeout_s,
            leak_timer=self._leak_timer,
        )
        return _items(completion.choices[0].message.content or "")


def _items(answer: str) -> tuple[OrderItem, ...]:
    try:
        rows = json.loads(answer)["items"]
        return tuple(
            OrderItem(row["name"], int(row["quantity"]))
            for row in rows
            if row["name"] in MENU and int(row["quantity"]) > 0
        )
    except (ValueError, TypeError, KeyError):
        return ()  # the model did not answer in the form asked for: an order of nothing
