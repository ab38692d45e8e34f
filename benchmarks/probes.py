"""What the agents cost: `python benchmarks/probes.py [--samples N]`.

1. The pause of one sample against the number of objects that a process holds, in Python and in Node.
2. What the agent itself leaves behind over many samples.
3. The restaurant's processor time a call in each state of the agent (counting, trace window, deep trace window,
   memray) and without it, in turns.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from leakline import demo
from leakline.fakes.ledger import Ledger
from leakline.fakes.openai import OpenAIServer
from leakline.harness.drive.telephone import Telephone, model_environment
from leakline.harness.measure.agents import Agents
from leakline.harness.run.settings import SoakSettings
from leakline.harness.server.ports import free_port
from leakline.harness.server.process import Sut, parse_command

SIZES = (10_000, 100_000, 1_000_000, 5_000_000)
TIMES = 5
CALLS, PAIRS = 60, 4

HOLDS = {
    "Python": (
        "import sys, time\nkept = [[n] for n in range(int(sys.argv[1]))]\n"
        "print('ready', flush=True)\ntime.sleep(3600)\n"
    ),
    "Node": (
        "const kept = Array.from({ length: Number(process.argv[2]) }, (_, n) => ({ n }))\n"
        "console.log('ready')\nsetInterval(() => kept.length, 3_600_000)\n"
    ),
}


@asynccontextmanager
async def holding(language: str, number: int) -> AsyncIterator[Agents]:
    """A process that holds so many objects, with an agent in it."""
    suffix, program = (
        (".py", [sys.executable]) if language == "Python" else (".cjs", ["node", "--max-old-space-size=8000"])
    )
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / f"holds{suffix}"
        script.write_text(HOLDS[language])
        async with Agents() as agents:
            process = await asyncio.create_subprocess_exec(
                *program, str(script), str(number), env=agents.environment(dict(os.environ)), stdout=subprocess.PIPE
            )
            try:
                if process.stdout is not None:
                    await process.stdout.readline()
                while not agents.present:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
                await agents.begin()
                yield agents
            finally:
                process.kill()
                await process.wait()


async def pause(language: str, number: int) -> str:
    """The row of one size."""
    async with holding(language, number) as agents:
        await agents.sample()
        taken = []
        for _ in range(TIMES):
            began = time.perf_counter()
            await agents.sample()
            taken.append(1000 * (time.perf_counter() - began))
        problem = agents.problems[0] if agents.problems else ""
    return f"| {language} | {number:,} | {statistics.median(taken):,.0f} | {max(taken):,.0f} | {problem} |"


async def own_leak(language: str, samples: int) -> str:
    """What many samples of an idle process leave behind in it."""
    async with holding(language, 10_000) as agents:
        for _ in range(max(50, samples // 10)):
            before = await agents.sample()
        for _ in range(samples):
            after = await agents.sample()
    grown = ", ".join(f"{name} {after[name] - before[name]:+,.0f}" for name in sorted(after) if name in before)
    return f"| {language} | {samples:,} | {grown} |"


STATES: dict[str, Callable[[Agents], Awaitable[object]] | None] = {
    "none": None,
    "counting": Agents.begin,
    "trace window": Agents.begin_trace,
    "deep trace window": lambda agents: agents.begin_trace(deep=True),
    "memray": Agents.begin_native_trace,
}


async def cpu_a_call(server: demo.Platform, state: str) -> float:
    """Milliseconds of processor time that the restaurant takes for a call, with its agent in a state."""
    enter = STATES[state]
    settings = SoakSettings(**demo.given("none", {}, server)).with_port(free_port())
    scenario, ledger = settings.load_scenario(), Ledger()
    with tempfile.TemporaryDirectory() as folder:
        async with OpenAIServer(scenario.model_script, ledger) as model, Agents() as agents:
            environment = {**os.environ, **model_environment(model), **settings.env}
            environment = agents.environment(environment) if enter is not None else environment
            telephone = Telephone(Ledger())
            async with Sut(parse_command(settings.sut), environment, Path(folder) / "log") as sut:
                await sut.until_listening(*settings.address, 30.0)
                if enter is not None:
                    await agents.begin()
                    await enter(agents)
                used = []
                for number in (20, CALLS):
                    before = _processor_time(sut)
                    await asyncio.gather(*(telephone.call(settings.url, scenario) for _ in range(number)))
                    used.append(_processor_time(sut) - before)
    return 1000 * used[-1] / CALLS


def _processor_time(sut: Sut) -> float:
    used = 0.0
    for process in sut.family():
        with contextlib.suppress(psutil.NoSuchProcess):
            used += sum(process.cpu_times()[:2])
    return used


async def slowdown(server: demo.Platform) -> list[str]:
    """The rows of one server: all states in turns, at the speed of real calls."""
    states = [state for state in STATES if server == "python" or state != "memray"]
    rounds = [{state: await cpu_a_call(server, state) for state in states} for _ in range(PAIRS)]
    rows = []
    for state in states:
        ratios = [taken[state] / taken["none"] for taken in rounds]
        spent = statistics.median(taken[state] for taken in rounds)
        spread = f"{statistics.median(ratios):.2f} | {min(ratios):.2f} to {max(ratios):.2f}"
        rows.append(f"| {server} | {state} | {spent:.1f} ms | {spread} |")
    return rows


async def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=10_000)
    samples = parser.parse_args().samples
    has_node = shutil.which("node") is not None
    languages = ["Python", *(["Node"] if has_node else [])]
    print(f"{platform.machine()}, {os.cpu_count()} cores, {psutil.virtual_memory().total >> 30} GiB, ", end="")
    print(
        f"Python {platform.python_version()}\n\n| | objects held | pause, median ms | most | |\n|---|---|---|---|---|"
    )
    for language in languages:
        for size in SIZES:
            print(await pause(language, size), flush=True)
    print("\n| server | agent | processor time a call | over none | of all rounds |\n|---|---|---|---|---|")
    for server in demo.PLATFORMS if has_node else ("python",):
        print("\n".join(await slowdown(server)), flush=True)
    print("\n| | samples | what the agent left behind in the process |\n|---|---|---|")
    for language in languages:
        print(await own_leak(language, samples), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
