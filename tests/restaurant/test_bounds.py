"""What a server of this kind must hold whatever else: nothing of a call stays, however fast calls come and go."""

import asyncio
from typing import Any

import pytest

from leakline.harness.data.model import Resource
from leakline.harness.measure.agents import Agents


@pytest.fixture(params=["python", "node"])
def either(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue("restaurant" if request.param == "python" else "restaurant_in_node")


KEPT: tuple[Resource, ...] = ("listeners", "timers", "tasks")


async def no_more_than(before: dict[Resource, float], agents: Agents) -> None:
    """Wait until there is no more than `before`: a pooled connection stays for some seconds, or has gone before."""
    for _ in range(60):
        after = await agents.sample()
        if all(after.get(name, 0.0) <= before.get(name, 0.0) for name in KEPT):
            return
        await asyncio.sleep(0.5)
    raise AssertionError(f"there is more than before: {after}, before {before}")


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
            await no_more_than(before, agents)
            assert not agents.problems

    asyncio.run(run())
