"""A restaurant in a process of its own, in front of a fake model."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from leakline.fakes.faults import FaultPlan, parse_rule
from leakline.fakes.ledger import Ledger
from leakline.fakes.openai import OpenAIServer
from leakline.fakes.twilio import CallEnd, Pace, StreamCaller, StreamIds
from leakline.harness.drive.scripted_call import ScriptedCall
from leakline.harness.measure.agents import Agents
from leakline.harness.server.ports import free_port
from leakline.harness.server.process import Sut
from leakline.scenarios import BUILT_IN, Scenario

SPEED = 10.0


@dataclass(frozen=True)
class Restaurant:
    """The server's address, what the fakes saw of it, and where its log is."""

    address: str
    scenario: Scenario
    ledger: Ledger
    log: Path

    async def health(self) -> dict[str, Any]:
        async with aiohttp.ClientSession() as http, http.get(f"http://{self.address}/health") as response:
            found: dict[str, Any] = await response.json()
            return found

    async def call(self, number: int = 1) -> tuple[CallEnd, ScriptedCall]:
        """Make one call."""
        driver = ScriptedCall(self.scenario, StreamIds.numbered(number), speed=SPEED)
        caller = StreamCaller(f"ws://{self.address}/media-stream", self.ledger, pace=Pace(SPEED))
        return await caller.call(driver, driver.ids.call_sid), driver

    async def until_idle(self) -> dict[str, Any]:
        """What `/health` says once no call is under way and nothing is open at the model."""
        async with asyncio.timeout(15):
            while True:
                health = await self.health()
                if not self.ledger.still_open() and not health["active_calls"] and not health["voice_sessions"]:
                    return health
                await asyncio.sleep(0.05)


Opens = Callable[..., AbstractAsyncContextManager[Restaurant]]


@pytest.fixture
def restaurant(tmp_path: Path) -> Opens:
    """Starts a server: `async with restaurant(scenario, faults=[...], RESTAURANT_MAX_CALLS="1") as grill`."""

    python = (sys.executable, "-P", "-m", "leakline.restaurant", "--log-level", "info")
    return _opener(tmp_path, python)


@pytest.fixture
def restaurant_in_node(tmp_path: Path, restaurant_node: Path) -> Opens:
    """Starts the server in Node, as `restaurant` does the one in Python."""
    return _opener(tmp_path, ("node", str(restaurant_node / "server.mjs")))


def _opener(tmp_path: Path, server: tuple[str, ...]) -> Opens:
    @asynccontextmanager
    async def opens(
        name: str = "question", *, faults: Iterable[str] = (), agents: Agents | None = None, **env: str
    ) -> AsyncIterator[Restaurant]:
        port, ledger, scenario = free_port(), Ledger(), BUILT_IN[name]
        plan = FaultPlan([parse_rule(rule) for rule in faults])
        async with OpenAIServer(scenario.model_script, ledger, speed=SPEED, faults=plan) as model:
            environment = {**os.environ, "OPENAI_API_KEY": "k", "OPENAI_BASE_URL": model.base_url, **env}
            if agents is not None:
                environment = agents.environment(environment)
            async with Sut((*server, "--port", str(port)), environment, tmp_path / "sut.log") as sut:
                await sut.until_listening("127.0.0.1", port, 20.0)
                yield Restaurant(f"127.0.0.1:{port}", scenario, ledger, tmp_path / "sut.log")

    return opens
