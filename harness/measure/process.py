"""The black-box probe: what the operating system says of the SUT's processes. Works on any server."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil

from leakline.harness.data.model import Resource
from leakline.harness.server.process import Sut

_PROC = Path("/proc")
NOT_TOLD = "the operating system does not tell"
"""Why something is not measured where there is no /proc."""

_COUNTED: tuple[Resource, ...] = ("rss", "threads", "fds", "sockets")


def read(sut: Sut) -> tuple[dict[Resource, float], dict[int, dict[Resource, float]]]:
    """(rss in bytes, threads, fds, sockets of all the SUT's processes, and how many of these it has; {pid: its own}).

    `children` counts those too that have ended and were never waited for.
    """
    family = sut.family(ended=True)
    each: dict[int, dict[Resource, float]] = {}
    for process in family:
        with contextlib.suppress(psutil.Error, OSError):
            if process.status() == psutil.STATUS_ZOMBIE:
                continue  # it holds nothing but its place
            with process.oneshot():
                memory, threads = process.memory_info().rss, process.num_threads()
            numbers = (memory, threads, *_descriptors(process))
            each[process.pid] = dict(zip(_COUNTED, map(float, numbers), strict=True))
    totals: dict[Resource, float] = {name: sum(own[name] for own in each.values()) for name in _COUNTED}
    totals["children"] = float(len(family) - 1 + sut.outlived)
    return totals, each


def wakeups(sut: Sut) -> dict[int, int]:
    """{pid: how often its threads have woken from waiting, ever}; empty where that is not counted (not Linux)."""
    return {
        process.pid: sum(
            _status_number(status, "voluntary_ctxt_switches")
            for status in (_PROC / str(process.pid) / "task").glob("*/status")
        )
        for process in (sut.family() if _PROC.is_dir() else ())
    }


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
