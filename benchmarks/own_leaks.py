"""leakline soaked by leakline: `python benchmarks/own_leaks.py [--cycles 10000]`.

The server under test is `tests/suts/ourselves.py`: each call that it takes is a whole call that it makes, with fakes
of its own. Printed is how much of each resource there was, and the verdict; and the memory of the harness that
measured.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sys
import tempfile
from pathlib import Path

import psutil

from harness.model import Sample
from harness.observer import Silent
from harness.settings import SoakSettings
from harness.soak import soak

OURSELVES = Path(__file__).parents[1] / "tests" / "suts" / "ourselves.py"


class Own(Silent):
    """Notes the memory of this process, the harness, at each sample."""

    def __init__(self) -> None:
        self.rss: list[int] = []

    def sample(self, _sample: Sample) -> None:
        self.rss.append(psutil.Process().memory_info().rss)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=10_000)
    cycles = parser.parse_args().cycles
    own = Own()
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
    with tempfile.TemporaryDirectory() as runs:
        settings = SoakSettings(
            sut=f"{sys.executable} {OURSELVES} {{port}}",
            url="ws://127.0.0.1:{port}/",
            scenario="voicemail",
            cycles=cycles,
            warmup=1100,  # the fake model's caches of frames, 1,024, one a call, and the ledger are full then
            runs=runs,
        )
        result = asyncio.run(soak(settings, own))
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; ", end="")
    print(f"{result.calls.made:,} calls in {result.seconds:.0f} s, {result.calls.failed} not as scripted\n")
    print(
        f"| {'resource':16} | {'first':>13} | {'middle':>13} | {'last':>13} | verdict |\n|{'-' * 18}|--:|--:|--:|---|"
    )
    samples = result.samples
    for growth in result.growths:
        values = [samples[at].values[growth.resource] for at in (0, len(samples) // 2, -1)]
        cells = " | ".join(f"{value:13,.0f}" for value in values)
        print(f"| {growth.resource:16} | {cells} | {growth.state} {growth.note} |")
    mib = [own.rss[at] / 2**20 for at in (0, len(own.rss) // 2, -1)]
    print(f"\n{result.state}; rss of the harness that measured: {mib[0]:.1f}, {mib[1]:.1f}, {mib[2]:.1f} MiB")


if __name__ == "__main__":
    main()
