"""What very many calls cost the harness: `python benchmarks/endurance.py ourselves|sequence|hours|together`.

`ourselves` is leakline soaked by leakline: the server under test is `tests/suts/ourselves.py`, which soaks a server
itself, with probes and fakes of its own: four calls for each that it takes. `sequence` makes 100,000 calls, one after
the other.
`hours` is a soak of eight hours of call time, four callers at a time, made at speed. `together` holds 2,000 calls at
once, three times over, in the engine of `leakline load` against the echo server of `benchmarks/load.py`.

Printed are the resources of the server under test where it is ours, and the memory of the harness that measured.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import queue
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
from load import Server

from leakline.harness.data.model import RunResult, Sample
from leakline.harness.run.load.engine import CallOutcome, Engine
from leakline.harness.run.observer import Silent
from leakline.harness.run.settings import SoakSettings
from leakline.harness.run.soak import soak
from leakline.scenarios import HangUp, Say, Scenario
from leakline.scenarios.library import BUILT_IN

ROOT = Path(__file__).parents[1]
OURSELVES = ROOT / "tests" / "suts" / "ourselves.py"
BRIDGE = ROOT / "tests" / "suts" / "bridge.py"
CALLERS = 4
EACH = 4
"""Calls that ourselves.py makes for one that it takes."""
SPEED = 20.0
WAVES = 3
TOGETHER_SPEED = 0.5
"""One core holds 1,300 calls at real-time pace (docs/load.md): 2,000 are made at half of it."""
_A_CALL_S = 10.0
_LIMIT_S = 300.0


class Own(Silent):
    """Notes the memory of this process, the harness, at each sample."""

    def __init__(self) -> None:
        self.rss: list[float] = []

    def sample(self, _sample: Sample) -> None:
        self.rss.append(rss_mib())


def rss_mib() -> float:
    """Of this process."""
    return float(psutil.Process().memory_info().rss) / 2**20


def run(sut: str, scenario: str, cycles: int, warmup: int, concurrency: int) -> RunResult:
    """Soak, and print how it went and what the harness needed."""
    own = Own()
    os.environ["PYTHONPATH"] = str(ROOT)
    with tempfile.TemporaryDirectory() as runs:
        settings = SoakSettings(
            sut=sut,
            url="ws://127.0.0.1:{port}/",
            scenario=scenario,
            cycles=cycles,
            warmup=warmup,
            concurrency=concurrency,
            speed=SPEED,
            runs=runs,
        )
        result = asyncio.run(soak(settings, own))
        journal = (Path(result.directory) / "journal.jsonl").stat().st_size
    print(f"{result.calls.made:,} calls of {scenario} in {result.seconds:,.0f} s, ", end="")
    print(f"{result.calls.failed} not as scripted; {len(result.samples)} samples; {result.state}")
    mib = [own.rss[at] for at in (0, len(own.rss) // 2, -1)]
    print(f"rss of the harness: {mib[0]:.1f}, {mib[1]:.1f}, {mib[2]:.1f} MiB (first, middle, last sample), ", end="")
    print(f"at most {max(own.rss):.1f}; journal {journal / 1024:,.0f} KiB")
    return result


def ourselves(cycles: int) -> None:
    """leakline soaked by leakline."""
    # The fake model's caches of frames (1,024, one a call) and the ledger are full after the warm-up.
    result = run(f"{sys.executable} {OURSELVES} {{port}}", "voicemail", cycles // EACH, 1100 // EACH, CALLERS)
    print(f"each of {EACH} calls of its own: {result.calls.made * EACH:,} calls")
    print(f"\n| {'resource':16} | {'first':>13} | {'middle':>13} | {'last':>13} | verdict |")
    print(f"|{'-' * 18}|--:|--:|--:|---|")
    samples = result.samples
    for growth in result.growths:
        values = [samples[at].values[growth.resource] for at in (0, len(samples) // 2, -1)]
        cells = " | ".join(f"{value:13,.0f}" for value in values)
        print(f"| {growth.resource:16} | {cells} | {growth.state} {growth.note} |")


def sequence(cycles: int) -> None:
    """One call after the other."""
    run(f"{sys.executable} {BRIDGE} {{port}} none", "early_hang_up", cycles, 100, 1)


def hours(number: int) -> None:
    """So many hours of call time, as one soak."""
    scenario = BUILT_IN["question"]
    cycles = int(number * 3600 / scenario.seconds) * CALLERS
    print(f"{number} h of calls of {scenario.seconds:g} s, {CALLERS} at a time, at {SPEED:g} times their pace")
    run(f"{sys.executable} {BRIDGE} {{port}} none", scenario.name, cycles, 100, CALLERS)


def together(calls: int) -> None:
    """Calls at once."""
    scenario = Scenario("talk", Say("Hello", seconds=_A_CALL_S), HangUp())
    server = Server()
    print(f"{calls:,} calls of {_A_CALL_S:g} s at once, at {TOGETHER_SPEED:g} of their pace; rss {rss_mib():.1f} MiB")
    try:
        starter = lambda work: threading.Thread(target=work, daemon=True).start()  # noqa: E731
        with Engine(speed=TOGETHER_SPEED, start_thread=starter) as engine:
            for wave in range(1, WAVES + 1):
                wave_of(engine, wave, calls, f"ws://127.0.0.1:{server.port}/", scenario)
    finally:
        server.close()


def wave_of(engine: Engine, wave: int, calls: int, url: str, scenario: Scenario) -> None:
    """Place the calls over two seconds, wait until the last is over, and print a line."""
    ended: queue.SimpleQueue[CallOutcome] = queue.SimpleQueue()
    began = time.monotonic()
    for _ in range(calls):
        engine.place(url, scenario, ended.put)
        time.sleep(2.0 / calls)
    time.sleep(_A_CALL_S / TOGETHER_SPEED / 2)
    during, under_way = rss_mib(), calls - ended.qsize()
    outcomes = [ended.get(timeout=_LIMIT_S) for _ in range(calls)]
    as_scripted = sum(o.result is not None and not o.result.failure for o in outcomes)
    lateness = engine.take_lateness()
    print(
        f"  wave {wave}: {under_way:,} under way with rss {during:.1f} MiB; "
        f"{as_scripted:,} of {calls:,} as scripted in "
        f"{time.monotonic() - began:.0f} s; rss {rss_mib():.1f} MiB after; "
        f"p99 lateness {1000 * lateness.quantile(0.99):.1f} ms"
    )


RUNS = {
    "ourselves": (ourselves, 10_000),
    "sequence": (sequence, 100_000),
    "hours": (hours, 8),
    "together": (together, 2_000),
}
"""{run: (function, calls or hours)}."""


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", choices=[*RUNS, "all"], default="all")
    parser.add_argument("--number", type=int, default=0, help="of calls, or hours")
    given = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    for name, (measure, usual) in RUNS.items():
        if given.run in (name, "all"):
            print(f"\n{name}")
            measure(given.number or usual)


if __name__ == "__main__":
    main()
