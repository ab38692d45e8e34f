"""What the operating system reports of the SUT's processes. Works for a server in any language."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil

from leakline.harness.data.model import Resource
from leakline.harness.server.process import Sut

_PROC = Path("/proc")
NOT_REPORTED = "the operating system does not report it"
"""Why a resource is not measured on a system without /proc."""

_COUNTED: tuple[Resource, ...] = ("rss", "threads", "fds", "sockets")


def read(sut: Sut) -> tuple[dict[Resource, float], dict[int, dict[Resource, float]]]:
    """(the process totals, {pid: that process's numbers}) of rss in bytes, threads, fds and sockets.

    The totals also have `children`, the SUT's processes except its first, including those that have ended and were
    never waited for.
    """
    family = sut.family(ended=True)
    each: dict[int, dict[Resource, float]] = {}
    for process in family:
        with contextlib.suppress(psutil.Error, OSError):
            if process.status() == psutil.STATUS_ZOMBIE:
                continue  # it has nothing left but its process id
            with process.oneshot():
                memory, threads = process.memory_info().rss, process.num_threads()
            numbers = (memory, threads, *_descriptors(process))
            each[process.pid] = dict(zip(_COUNTED, map(float, numbers), strict=True))
    totals: dict[Resource, float] = {name: sum(own[name] for own in each.values()) for name in _COUNTED}
    totals["children"] = float(len(family) - 1 + sut.outlived)
    return totals, each


def wakeups(sut: Sut) -> dict[int, int]:
    """{pid: how often its living threads have woken up from waiting so far}; empty without /proc.

    Counted as voluntary context switches (proc(5)).
    """
    return {
        process.pid: sum(
            _status_number(status, "voluntary_ctxt_switches")
            for status in (_PROC / str(process.pid) / "task").glob("*/status")
        )
        for process in (sut.family() if _PROC.is_dir() else ())
    }


def reset_peak(sut: Sut) -> bool:
    """Reset the peak rss of the SUT's processes; returns whether that was possible."""
    done = False
    for process in sut.family():
        with contextlib.suppress(OSError):
            (_PROC / str(process.pid) / "clear_refs").write_text("5")  # proc(5): resets the peak resident set size
            done = True
    return done


def peak_above(sut: Sut, quiet_bytes: float) -> float:
    """The sum of the processes' peak rss since `reset_peak`, in bytes above `quiet_bytes`; at least 0."""
    total = 0
    for process in sut.family():
        total += 1024 * _status_number(_PROC / str(process.pid) / "status", "VmHWM")
    return max(0.0, total - quiet_bytes)


def _status_number(file: Path, name: str) -> int:
    """The number in a field of a status file (proc(5)); 0 when the process has ended or the file lacks the field."""
    with contextlib.suppress(OSError, ValueError):
        for line in file.read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
    return 0


def _descriptors(process: psutil.Process) -> tuple[int, int]:
    """(how many file descriptors, how many of them are sockets)."""
    directory = _PROC / str(process.pid) / "fd"
    if not directory.is_dir():  # not Linux
        return process.num_fds(), len(process.net_connections(kind="all"))
    fds = sockets = 0
    for entry in directory.iterdir():
        fds += 1
        with contextlib.suppress(OSError):
            sockets += str(entry.readlink()).startswith("socket:")
    return fds, sockets
