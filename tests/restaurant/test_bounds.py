"""What a server of this kind must hold whatever else: nothing of a call stays, however fast calls come and go."""

import asyncio
from typing import Any

import pytest

from harness.model import Resource
from harness.probes.agent import Agents


@pytest.fixture(params=["python", "node"])
def either(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue("restaurant" if request.param == "python" else "restaurant_in_node")


async def at_rest(agents: Agents) -> dict[Resource, float]:
    """The agent's sample when two in a row tell of the same things: what closes has closed."""
    sample: dict[Resource, float] = {}
    for _ in range(100):
        await asyncio.sleep(0.3)
        before, sample = sample, await agents.sample()
        if all(before.get(name) == sample.get(name) for name in ("listeners", "timers", "tasks")):
            return sample
    raise AssertionError(f"it did not come to rest: {before}, then {sample}")


@pytest.mark.parametrize("scenario", ["early_hang_up", "drop"])
def test_rapid_calls_leave_no_timer_no_listener_and_no_task(either: Any, scenario: str) -> None:
    async def run() -> None:
        async with Agents() as agents, either(scenario, agents=agents) as grill:
            for _ in range(2):
                await asyncio.gather(*(grill.call(number) for number in range(1, 11)))
                await grill.until_idle()
                before = await at_rest(agents)
            for _ in range(6):
                await asyncio.gather(*(grill.call(number) for number in range(1, 11)))
            await grill.until_idle()
            after = await at_rest(agents)
            assert not agents.problems
            assert after["listeners"] == before["listeners"]
            assert after["timers"] <= before["timers"] + 2  # a pooled connection's, now and then
            assert after.get("tasks") == before.get("tasks")

    asyncio.run(run())
