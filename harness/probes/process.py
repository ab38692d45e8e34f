"""The black-box probe: what the operating system says of the SUT's processes. Works on any server."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil

from harness.model import Resource
from harness.sut import Sut

_PROC = Path("/proc")


def read(sut: Sut) -> dict[Resource, float]:
    """rss (bytes), threads, fds and sockets, summed over the SUT's processes; how many of these there are.

    `children` counts those too that have ended and were never waited for.
    """
    totals: dict[Resource, float] = {"rss": 0.0, "threads": 0.0, "fds": 0.0, "sockets": 0.0}
    family = sut.family(ended=True)
    totals["children"] = float(len(family) - 1 + sut.outlived)
    for process in family:
        with contextlib.suppress(psutil.Error, OSError):
            if process.status() == psutil.STATUS_ZOMBIE:
                continue  # it holds nothing but its place
            with process.oneshot():
                memory, threads = process.memory_info().rss, process.num_threads()
            fds, sockets = _descriptors(process)
            totals["rss"] += memory
            totals["threads"] += threads
            totals["fds"] += fds
            totals["sockets"] += sockets
    return totals


def wakeups(sut: Sut) -> float | None:
    """How often the SUT's threads have woken from waiting, ever; None where that is not counted (not Linux)."""
    total = 0
    for process in sut.family():
        for status in (_PROC / str(process.pid) / "task").glob("*/status"):
            total += _status_number(status, "voluntary_ctxt_switches")
    return float(total) if _PROC.is_dir() else None


def forget_peak(sut: Sut) -> bool:
    """Have the system forget the most memory that the SUT's processes had; whether that can be done."""
    done = False
    for process in sut.family():
        with contextlib.suppress(OSError):
            (_PROC / str(process.pid) / "clear_refs").write_text("5")  # proc(5): resets the peak resident set size
            done = True
    return done


def above_rest(sut: Sut, rest_bytes: float) -> float:
    """Bytes of memory that the SUT's processes had at their most since `forget_peak`, above `rest_bytes`."""
    total = 0
    for process in sut.family():
        total += 1024 * _status_number(_PROC / str(process.pid) / "status", "VmHWM")
    return max(0.0, total - rest_bytes)


def _status_number(file: Path, name: str) -> int:
    """A field of a status file of proc(5); 0 when the process has gone, or has none."""
    with contextlib.suppress(OSError, ValueError):
        for line in file.read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
    return 0


def _descriptors(process: psutil.Process) -> tuple[int, int]:
    """(all file descriptors, those that are sockets)."""
    directory = _PROC / str(process.pid) / "fd"
    if not directory.is_dir():  # not Linux
        return process.num_fds(), len(process.net_connections(kind="all"))
    fds = sockets = 0
    for entry in directory.iterdir():
        fds += 1
        with contextlib.suppress(OSError):
            sockets += str(entry.readlink()).startswith("socket:")
    return fds, sockets
