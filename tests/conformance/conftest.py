from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import openai
import pytest

from leakline.fakes.faults import FaultPlan, Rule
from leakline.fakes.ledger import Ledger
from leakline.fakes.openai import FunctionCall, ModelScript, OpenAIServer, Turn

T = TypeVar("T")
Use = Callable[[openai.AsyncOpenAI, Ledger], Awaitable[T]]

SCRIPT = ModelScript(
    turns=(
        Turn("We are open until ten.", seconds=0.4),
        Turn("Two burgers.", seconds=0.2, calls=(FunctionCall("add_to_cart", item="burger", quantity=2),)),
    ),
    hears=("Two burgers, please.",),
    chat=(
        Turn(
            "Let me put that in.",
            calls=(FunctionCall("add_to_cart", item="burger"), FunctionCall("add_to_cart", item="cola")),
        ),
    ),
)


@pytest.fixture
def use() -> Callable[..., object]:
    """Runs a coroutine with an official client of a fake that says SCRIPT, and its ledger."""

    def run(work: Use[T], *rules: Rule, script: ModelScript = SCRIPT, retries: int = 0) -> T:
        async def main() -> T:
            ledger = Ledger()
            async with OpenAIServer(script, ledger, speed=20.0, faults=FaultPlan(rules)) as server:
                client = openai.AsyncOpenAI(
                    api_key="sk-test", base_url=server.base_url, max_retries=retries, timeout=20.0
                )
                async with client, asyncio.timeout(30):
                    return await work(client, ledger)

        return asyncio.run(main())

    return run
