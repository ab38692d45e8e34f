"""What a server of this kind must hold whatever else: nothing of a call stays, however fast calls come and go."""

import asyncio
from typing import Any

import pytest

from harness.probes.agent import Agents


@pytest.fixture(params=["python", "node"])
def either(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue("restaurant" if request.param == "python" else "restaurant_in_node")


@pytest.mark.parametrize("scenario", ["early_hang_up", "drop"])
def test_rapid_calls_leave_no_timer_no_listener_and_no_task(either: Any, scenario: str) -> None:
    async def run() -> None:
        async with Agents() as agents, either(scenario, agents=agents) as grill:
            for _ in range(2):
                await asyncio.gather(*(grill.call(number) for number in range(1, 11)))
                await grill.until_idle()
                await asyncio.sleep(0.3)
                before = await agents.sample()
            for _ in range(6):
                await asyncio.gather(*(grill.call(number) for number in range(1, 11)))
            await grill.until_idle()
            await asyncio.sleep(0.3)
            after = await agents.sample()
            assert not agents.problems
            assert after["listeners"] == before["listeners"]
            assert after["timers"] <= before["timers"] + 2  # a pooled connection's, now and then
            assert after.get("tasks") == before.get("tasks")

    asyncio.run(run())
