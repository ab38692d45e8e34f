"""Ends the servers of a run that was killed: a small process of its own, which survives the run's SIGKILL.

The run writes to its standard input, a command per line. When the input ends without `done`, the run has been
killed: the reaper ends every process of the sessions that it tracks and removes the run's temporary folders.

    track PID      this process leads a session: end it if the run is killed
    forget PID     it has ended
    done           the run is over, and has ended everything itself
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from types import TracebackType
from typing import Self

import psutil

from leakline.harness.server import scratch

_TERM_S, _KILL_S = 2.0, 2.0
"""Seconds that processes have to end after SIGTERM, and after SIGKILL."""
_POLL_S = 0.05


class Reaper:
    """Starts the reaper process and talks to it. Use as a context manager around all that it shall end."""

    def __enter__(self) -> Self:
        scratch.sweep()  # of runs that were killed together with their reapers
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "leakline.harness.server.reaper", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a signal to the run's group, such as Ctrl-C, does not reach it
            text=True,
        )
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._write("done")
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        self._process.wait()

    def track(self, session: int) -> None:
        """Have this session's processes ended if the run is killed."""
        self._write(f"track {session}")

    def forget(self, session: int) -> None:
        """Note that this session has ended by itself."""
        self._write(f"forget {session}")

    def _write(self, command: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # the reaper has been killed: the run continues without it
            if self._process.stdin is not None:
                self._process.stdin.write(command + "\n")
                self._process.stdin.flush()


def members(session: int, *, ended: bool = False) -> list[psutil.Process]:
    """The processes of a session that run; with `ended`, zombies too."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getsid(process.pid) == session and (ended or is_running(process)):
                found.append(process)
    return found


def is_running(process: psutil.Process) -> bool:
    """Whether a process runs and is no zombie."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def end(sessions: set[int]) -> None:
    """End all processes of some sessions: SIGTERM, then SIGKILL to those left after two seconds."""
    for how, patience_s in ((signal.SIGTERM, _TERM_S), (signal.SIGKILL, _KILL_S)):
        left = [process for session in sessions for process in members(session)]
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.send_signal(how)
        deadline = time.monotonic() + patience_s
        while any(map(is_running, left)) and time.monotonic() < deadline:
            time.sleep(_POLL_S)


def main() -> None:
    """The reaper process: follow the run's commands, and end its sessions when it has been killed."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    run, sessions = int(sys.argv[1]), set[int]()
    for line in sys.stdin:
        match line.split():
            case ["track", pid]:
                sessions.add(int(pid))
            case ["forget", pid]:
                sessions.discard(int(pid))
            case ["done"]:
                return
    end(sessions)
    scratch.sweep(of=run)


if __name__ == "__main__":
    main()
