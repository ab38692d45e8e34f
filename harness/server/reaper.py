"""Ends what a run has started when the run cannot: a small process beside it, which outlives a SIGKILL.

It is told on its standard input which sessions there are; when that ends without a word, they are ended, and the
run's folders for temporary files are removed.

    watch PID      a process that leads a session
    forget PID     it has ended
    bye            all is done
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
_POLL_S = 0.05


class Reaper:
    """The run's end of it. Use as a context manager around all that it watches."""

    def __enter__(self) -> Self:
        scratch.sweep()  # what runs have left that were killed together with their reaper
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "leakline.harness.server.reaper", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # what ends the run's group, such as Ctrl-C, leaves it alone
            text=True,
        )
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._tell("bye")
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        self._process.wait()

    def watch(self, session: int) -> None:
        """End this session if the run dies."""
        self._tell(f"watch {session}")

    def forget(self, session: int) -> None:
        """It has ended."""
        self._tell(f"forget {session}")

    def _tell(self, what: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # one that has been killed: the run goes on without
            if self._process.stdin is not None:
                self._process.stdin.write(what + "\n")
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
    """Whether it does, and is no zombie."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def end(sessions: set[int]) -> None:
    """SIGTERM to all of them, then SIGKILL to what is left after two seconds."""
    for how, patience_s in ((signal.SIGTERM, _TERM_S), (signal.SIGKILL, _KILL_S)):
        left = [process for session in sessions for process in members(session)]
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.send_signal(how)
        deadline = time.monotonic() + patience_s
        while any(map(is_running, left)) and time.monotonic() < deadline:
            time.sleep(_POLL_S)


def main() -> None:
    """Listen, and reap when the other end has gone."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    run, sessions = int(sys.argv[1]), set[int]()
    for line in sys.stdin:
        match line.split():
            case ["watch", pid]:
                sessions.add(int(pid))
            case ["forget", pid]:
                sessions.discard(int(pid))
            case ["bye"]:
                return
    end(sessions)
    scratch.sweep(of=run)


if __name__ == "__main__":
    main()
