"""What is left of soaks that are killed: `python benchmarks/killed.py [--times 50]`.

SIGKILL at a random moment of a run. After each: is its journal readable, how many samples are in it, what still runs,
and which temporary folders are still there?
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from leakline.harness.run.journal import FILE_NAME
from leakline.harness.server.reaper import is_running

_LONGEST_S = 12.0
_GONE_S = 8.0


def killed(folder: Path, moment_s: float) -> tuple[bool, int, int, int]:
    """(journal readable, samples in it, processes left, folders left) of one soak that was killed so late."""
    command = [sys.executable, "-m", "leakline", "soak", "--leaks", "timeout_timers", "--cycles", "400"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    soak = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    time.sleep(moment_s)
    started = psutil.Process(soak.pid).children(recursive=True)
    soak.send_signal(signal.SIGKILL)
    soak.wait()
    deadline = time.monotonic() + _GONE_S
    while time.monotonic() < deadline and (any(map(is_running, started)) or _folders(soak.pid)):
        time.sleep(0.05)
    runs = list(folder.glob(f"runs/*/{FILE_NAME}"))
    report = (
        subprocess.run(
            [*command[:3], "report", str(runs[0].parent)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if runs
        else None
    )
    readable = report is None or (report.returncode == 0 and "Traceback" not in report.stderr)
    lines = runs[0].read_text().splitlines()[:-1] if runs else []
    samples = sum(json.loads(line)["kind"] == "sample" for line in lines)
    return readable, samples, sum(map(is_running, started)), len(_folders(soak.pid))


def _folders(pid: int) -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob(f"leakline-*-{pid}-*"))


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=50)
    times = parser.parse_args().times
    rows = []
    for _ in range(times):
        with tempfile.TemporaryDirectory() as folder:
            rows.append(killed(Path(folder), random.SystemRandom().uniform(0.2, _LONGEST_S)))
            print(".", end="", file=sys.stderr, flush=True)
    print(f"\n{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"killed {times} times, 0.2 to {_LONGEST_S:g} s after the start")
    print(f"journals readable       {sum(row[0] for row in rows)}")
    print(f"samples in them         {min(row[1] for row in rows)} to {max(row[1] for row in rows)}")
    print(f"processes left          {sum(row[2] for row in rows)}")
    print(f"temporary folders left  {sum(row[3] for row in rows)}")


if __name__ == "__main__":
    main()
