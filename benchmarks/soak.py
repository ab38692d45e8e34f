"""What a soak costs: calls a second, processor time a call on both sides, and the price of the agent.

Run it with `python benchmarks/soak.py`. The same server is driven with and without the agent, in turn, so that the
ratio holds on a noisy machine.
"""

from __future__ import annotations

import asyncio
import os
import platform
import shlex
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from leakline.fakes.ledger import Ledger
from leakline.fakes.openai import OpenAIServer
from leakline.fakes.twilio import Pace, StreamCaller, StreamIds
from leakline.harness.drive.scripted_call import ScriptedCall
from leakline.harness.measure.agents import Agents
from leakline.harness.server.ports import free_port
from leakline.harness.server.process import Sut
from leakline.scenarios import BUILT_IN, Scenario

ROUNDS, CALLS, AT_A_TIME, SPEED = 5, 32, 4, 5.0
BARE_CALLS = 400
"""A clock that ticks a hundred times a second needs as many."""
SCENARIO = BUILT_IN["two_burgers"]
BARE = BUILT_IN["early_hang_up"]
"""A cycle of connect and disconnect, and nothing between."""


@dataclass(frozen=True)
class Cost:
    server_ms: float
    harness_ms: float
    wall_ms: float
    sample_ms: float


async def measure(scenario: Scenario, number: int, *, with_agent: bool, directory: Path) -> Cost:
    port = free_port()
    ledger = Ledger()
    async with OpenAIServer(scenario.model_script, ledger, speed=SPEED) as model, Agents() as agents:
        environment = {**os.environ, "OPENAI_API_KEY": "k", "OPENAI_BASE_URL": model.base_url}
        if with_agent:
            environment = agents.environment(environment)
        command = shlex.split(f"{sys.executable} -P -m leakline.restaurant --port {port} --loop asyncio")
        async with Sut(command, environment, directory / "sut.log") as sut:
            await sut.until_listening("127.0.0.1", port, 30)
            await agents.begin()
            await calls(scenario, port, ledger, 16)
            server, harness = psutil.Process(sut.pid), psutil.Process()
            server_s, harness_s, began = cpu(server), cpu(harness), time.perf_counter()
            await calls(scenario, port, ledger, number)
            wall_s = time.perf_counter() - began
            server_s, harness_s = cpu(server) - server_s, cpu(harness) - harness_s
            sample_s = 0.0
            if with_agent:
                await agents.sample()
                began = time.perf_counter()
                for _ in range(5):
                    await agents.sample()
                sample_s = (time.perf_counter() - began) / 5
    return Cost(*(1000 * s for s in (server_s / number, harness_s / number, wall_s / number, sample_s)))


async def calls(scenario: Scenario, port: int, ledger: Ledger, number: int) -> None:
    caller = StreamCaller(f"ws://127.0.0.1:{port}/media-stream", ledger, pace=Pace(SPEED))
    for first in range(0, number, AT_A_TIME):
        batch = (
            caller.call(ScriptedCall(scenario, StreamIds.numbered(first + n), speed=SPEED)) for n in range(AT_A_TIME)
        )
        await asyncio.gather(*batch)


def cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def main() -> None:
    rows: dict[bool, list[Cost]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as directory:
        for _ in range(ROUNDS):
            for with_agent in (False, True):
                rows[with_agent].append(
                    asyncio.run(measure(SCENARIO, CALLS, with_agent=with_agent, directory=Path(directory)))
                )
        bare = [
            asyncio.run(measure(BARE, BARE_CALLS, with_agent=True, directory=Path(directory))) for _ in range(ROUNDS)
        ]
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; ", end="")
    print(f"'{SCENARIO.name}', {AT_A_TIME} calls at a time at speed {SPEED:g}; medians of {ROUNDS} rounds\n")
    print(f"{'':22}{'server CPU':>13}{'harness CPU':>13}{'wall':>13}{'one sample':>13}")
    for with_agent, costs in rows.items():
        name = "with the agent" if with_agent else "without the agent"
        figures = [statistics.median(values) for values in zip(*(vars(c).values() for c in costs), strict=True)]
        cells = "".join(f"{value:.1f} ms{'/call' if at < 3 else ''}".rjust(13) for at, value in enumerate(figures))
        print(f"{name:22}{cells}")
    ratios = [a.server_ms / b.server_ms for a, b in zip(rows[True], rows[False], strict=True)]
    print(f"\nserver CPU with / without the agent, pair by pair: median {statistics.median(ratios):.3f}")
    print(f"(from {min(ratios):.3f} to {max(ratios):.3f})")
    taken = [cost.harness_ms for cost in bare]
    print(
        f"\nharness and fakes, a bare cycle ('{BARE.name}'): {statistics.median(taken):.1f} ms of processor time",
        end="",
    )
    print(f" ({min(taken):.1f} to {max(taken):.1f})")


if __name__ == "__main__":
    main()
