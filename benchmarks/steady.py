"""The sound restaurant under each built-in scenario, and under many calls at once.

`python benchmarks/steady.py [--node]` prints a row a scenario (168 calls each: over 1,000 in all) with the verdict,
and what is left after 100 calls at a time for 60 seconds in real time. Everything should be clean, and nothing left.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import tempfile
import time
from pathlib import Path

from leakline import demo
from leakline.fakes.ledger import Ledger
from leakline.fakes.openai import OpenAIServer
from leakline.harness.drive.telephone import Telephone, model_environment
from leakline.harness.run.settings import SoakSettings
from leakline.harness.run.soak import soak
from leakline.harness.server.ports import free_port
from leakline.harness.server.process import Sut, parse_command
from leakline.reports import blocks
from leakline.reports.text import one_line
from leakline.scenarios import BUILT_IN

CYCLES = 168
AT_ONCE = 100
SECONDS = 60.0


async def one(scenario: str, server: demo.Platform) -> str:
    """The row of one scenario."""
    with tempfile.TemporaryDirectory() as runs:
        given = {"cycles": CYCLES, "scenario": scenario, "runs": runs}
        result = await soak(SoakSettings(**demo.given("none", given, server)))
    words = "; ".join(one_line(blocks.finding(finding)) for finding in result.findings) or "; ".join(result.notes)
    calls = result.calls
    return f"| `{scenario}` | {calls.made} | {calls.failed} | {result.seconds:.0f} | {result.state} | {words} |"


async def crowd(server: demo.Platform) -> str:
    """100 callers who call again and again for a minute, in real time."""
    settings = SoakSettings(**demo.given("none", {}, server)).with_port(free_port())
    scenario, ledger, telephone_ledger = settings.load_scenario(), Ledger(), Ledger()
    telephone = Telephone(telephone_ledger)
    made, failed = 0, 0
    with tempfile.TemporaryDirectory() as folder:
        async with OpenAIServer(scenario.model_script, ledger) as model:
            environment = {**os.environ, **model_environment(model), **settings.env}
            async with Sut(parse_command(settings.sut), environment, Path(folder) / "log") as sut:
                await sut.until_listening(*settings.address, 30.0)
                ends_at = time.monotonic() + SECONDS

                async def caller(number: int) -> None:
                    nonlocal made, failed
                    await asyncio.sleep(number * 0.02)
                    while time.monotonic() < ends_at:
                        placed = await telephone.call(settings.url, scenario)
                        made += 1
                        failed += bool(placed.failure)

                await asyncio.gather(*(caller(number) for number in range(AT_ONCE)))
                deadline = time.monotonic() + 10.0
                while ledger.still_open() and time.monotonic() < deadline:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
                left = len(ledger.still_open("realtime"))
                seen = ledger.seen("realtime")
    return f"{made} calls, {failed} of them not as scripted; {seen} sessions at the model, {left} of them left open"


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--node", action="store_true", help="the restaurant in Node, not the one in Python")
    server: demo.Platform = "node" if parser.parse_args().node else "python"
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, server in {server}\n")
    print("| scenario | calls | not as scripted | seconds | verdict | |\n|---|---|---|---|---|---|")
    for scenario in BUILT_IN:
        print(asyncio.run(one(scenario, server)), flush=True)
    print(f"\n{AT_ONCE} calls at a time for {SECONDS:.0f} s: {asyncio.run(crowd(server))}")


if __name__ == "__main__":
    main()
