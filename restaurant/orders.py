"""Reads orders out of transcripts: a chat completion, checked against the menu."""

from __future__ import annotations

import json
from collections.abc import Callable

from openai import APIConnectionError, AsyncOpenAI, InternalServerError

from leakline.restaurant.menu import MENU, OrderItem
from leakline.restaurant.retries import with_retry
from leakline.restaurant.timeouts import with_timeout

_INSTRUCTIONS = (
    'You read phone orders. Answer with JSON alone: {"items": [{"name": NAME, "quantity": NUMBER}]}. '
    "NAME is one of: " + ", ".join(MENU)
)


class OrderReader:
    """Reads an order out of a call's transcript."""

    def __init__(
        self, client: Callable[[], AsyncOpenAI], *, model: str, timeout_s: float, leak_timer: bool = False
    ) -> None:
        self._client = client
        self._model = model
        self._timeout_s = timeout_s
        self._leak_timer = leak_timer

    async def read(self, transcript: str) -> tuple[OrderItem, ...]:
        """The items ordered, of those on the menu. Raises TimeoutError, openai.OpenAIError."""
        answer = await with_timeout(
            with_retry(lambda: self._ask(transcript), on=(APIConnectionError, InternalServerError), times=2),
            self._timeout_s,
            leak_timer=self._leak_timer,
        )
        return items_of(answer)

    async def _ask(self, transcript: str) -> str:
        completion = await self._client().chat.completions.create(
            model=self._model,
            messages=[
                {"role": "system", "content": _INSTRUCTIONS},
                {"role": "user", "content": transcript},
            ],
        )
        return completion.choices[0].message.content or ""


def items_of(answer: str) -> tuple[OrderItem, ...]:
    """The items in the model's answer."""
    try:
        rows = json.loads(answer)["items"]
        return tuple(
            OrderItem(row["name"], int(row["quantity"]))
            for row in rows
            if row["name"] in MENU and int(row["quantity"]) > 0
        )
    except (ValueError, TypeError, KeyError):
        return ()  # the model did not answer in the requested format: nothing was ordered
