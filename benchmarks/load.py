"""Calls held at real-time pace on one core: `python benchmarks/load.py [--only NAME,...] [--cost]`.

Against one echo server on the machine's other core: how many calls a client holds with 99 % of its frames at most
2 ms late, none left out, and nothing left unread. How late is measured at the server, the same for all. Artillery is
tried where ARTILLERY names its program (npm install artillery).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import psutil

HERE = Path(__file__).parent
CLIENTS = ("ours", "raw picows", "websockets", "aiohttp", "Locust user", "artillery")
"""Those of `load_clients.py`."""

MOST_LATE_MS = 2.0
LEAST_PACE = 0.99
DRIFTS = {"artillery": 0.95}
"""Clients that cannot keep a beat, since they pause between messages: of them that pace is asked, and no lateness."""

LEVELS = (
    10,
    25,
    50,
    100,
    150,
    200,
    250,
    300,
    400,
    500,
    600,
    700,
    800,
    900,
    1000,
    1100,
    1200,
    1300,
    1400,
    1500,
    1700,
    2000,
)
COST_LEVELS = (10, 50, 100, 250, 500, 750, 1000, 1250, 1500)
SETTLE_S, MEASURE_S = 1.5, 5.0
_CONNECT_S = 40.0


@dataclass(frozen=True)
class Held:
    """One trial."""

    name: str
    calls: int
    connected: int
    pace: float
    p50_ms: float
    p99_ms: float
    not_read: int
    cpu: float
    """Of one core, by the client."""
    server_cpu: float
    frames: int

    @property
    def is_held(self) -> bool:
        if self.connected < self.calls or self.not_read > self.calls // 100:
            return False
        if self.name in DRIFTS:
            return self.pace >= DRIFTS[self.name]
        return self.pace >= LEAST_PACE and self.p99_ms <= MOST_LATE_MS

    @property
    def pair_us(self) -> float:
        """Processor time of the client a frame sent and received, in microseconds."""
        return 1e6 * self.cpu * MEASURE_S / self.frames if self.frames else 0.0


class Server:
    """The echo server, as a process."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "load_server.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._input = cast("IO[str]", self.process.stdin)
        self._output = cast("IO[str]", self.process.stdout)
        self.port = self._read()["port"]

    def ask(self, command: str) -> dict[str, Any]:
        """What it answers to `report`; nothing to `begin`."""
        self._input.write(command + "\n")
        self._input.flush()
        return self._read() if command == "report" else {}

    def _read(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._output.readline())
        return found

    def close(self) -> None:
        """End it."""
        self._input.close()
        self._output.close()
        self.process.wait(10)


@contextlib.contextmanager
def client(name: str, calls: int, url: str) -> Iterator[int]:
    """The client, for the length of a `with`; its process group is ended after."""
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    command = [sys.executable, str(HERE / "load_clients.py"), name, str(calls), url]
    child = subprocess.Popen(
        command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield child.pid
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def cpu_s(pid: int) -> float:
    """Processor time of a process and its children so far."""
    total = 0.0
    root = psutil.Process(pid)
    for process in (root, *root.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def trial(name: str, calls: int) -> Held:
    """Hold so many calls for a while."""
    server = Server()
    try:
        with client(name, calls, f"ws://127.0.0.1:{server.port}/") as pid:
            until = time.monotonic() + _CONNECT_S
            while time.monotonic() < until and server.ask("report")["calls"] < calls:
                time.sleep(0.5)
            time.sleep(SETTLE_S)
            server.ask("begin")
            used, server_used = cpu_s(pid), cpu_s(server.process.pid)
            time.sleep(MEASURE_S)
            used, server_used = cpu_s(pid) - used, cpu_s(server.process.pid) - server_used
            found = server.ask("report")
    finally:
        server.close()
    return Held(
        name,
        calls,
        found["calls"],
        found["pace"],
        found["p50_ms"],
        found["p99_ms"],
        found["not_read"],
        used / MEASURE_S,
        server_used / MEASURE_S,
        found["frames"],
    )


def most_held(name: str, least: int) -> Held | None:
    """The largest level held, from `least` on; a level has three tries, since these machines are shared."""
    best = None
    for calls in (level for level in LEVELS if level >= least):
        for _ in range(3):
            held = trial(name, calls)
            print(f"  {held}", file=sys.stderr, flush=True)
            if held.is_held:
                break
        else:
            return best
        best = held
    return best


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(CLIENTS), help="names of clients, by commas")
    parser.add_argument("--cost", action="store_true", help="what a call costs ours, from 10 to 1,500")
    parser.add_argument("--least", type=int, default=0, help="begin with so many calls")
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    if options.cost:
        print("| calls | us a frame pair | % of a core a call | p99 ms |\n|---|---|---|---|")
        for calls in COST_LEVELS:
            held = trial("ours", calls)
            print(
                f"| {calls:,} | {held.pair_us:.1f} | {100 * held.cpu / calls:.3f} | {held.p99_ms:.2f} |", flush=True
            )
        return
    print("| client | calls held | us a frame pair | p99 ms | its core | the server's |\n|---|---|---|---|---|---|")
    for name in options.only.split(","):
        if name == "artillery" and "ARTILLERY" not in os.environ:
            print("| artillery | not here | | | | |")
            continue
        best = most_held(name, options.least)
        if best is None:
            print(f"| {name} | fewer than the least | | | | |", flush=True)
        else:
            print(
                f"| {name} | {best.calls:,} | {best.pair_us:.1f} | {best.p99_ms:.2f} | {100 * best.cpu:.0f} % | "
                f"{100 * best.server_cpu:.0f} % |",
                flush=True,
            )


if __name__ == "__main__":
    main()
