"""The server as a child process: started, awaited until it listens, and stopped with all that it started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import signal
import time
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import psutil

from leakline.harness.data.errors import RunError, ServerEndedError, UsageError
from leakline.harness.server.ports import is_listening
from leakline.harness.server.reaper import Reaper, is_running, members

T = TypeVar("T")

_POLL_S = 0.05
STOP_S = 5.0
"""Seconds that a server has to end after SIGTERM, before SIGKILL."""
_EXIT_GRACE_S = 0.5
"""Grace period, in seconds, in which a server's own children may end after it, before they count as left behind."""
_LAST_LINES = 5
"""How many of the last lines that a server printed an error message quotes."""
_MOST_PRINTED_BYTES = 8 * 1024 * 1024
"""How much of the log is read to find out what the server said."""
_MOST_LOG_BYTES, _KEPT_LOG_BYTES = 64 * 1024 * 1024, 8 * 1024 * 1024
"""Size above which the log file is cut, and how much of its end is kept."""
_TRIM_EVERY_S = 0.5
"""How often the log's size is checked, in seconds."""


def parse_command(command: str) -> tuple[str, ...]:
    """The words of a command line; no shell is involved. Raises UsageError."""
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise UsageError(f"sut: cannot split {command!r} into words: {error}") from None
    if not words:
        raise UsageError("sut: expected a command, found nothing")
    if shutil.which(words[0]) is None:
        problem = "is not executable" if Path(words[0]).exists() else "does not exist"
        raise UsageError(f"sut: expected a program to run, found {words[0]!r}, which {problem}")
    return words


class Sut:
    """A server process. Use as an async context manager: it runs inside, and is stopped with its children at the end.

    Args:
        command: the program and its arguments.
        environment: the whole environment of the process.
        log: where its standard output and error go.
        reaper: ends it if the run is killed before it can.
        stop_s: seconds that it is given to end after SIGTERM.

    Raises UsageError on entering when the program cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        reaper: Reaper | None = None,
        *,
        stop_s: float = STOP_S,
    ) -> None:
        self._stop_s = stop_s
        self._reaper = reaper
        self._command = tuple(command)
        self._environment = dict(environment)
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        # One task for all who wait: asyncio keeps a future for each `Process.wait()` until the process ends.
        self._exit: asyncio.Task[int] | None = None
        self._trimmer: asyncio.Task[None] | None = None
        self._started_again = asyncio.Event()
        self._started_again.set()
        self.restarts = 0
        """How often it was restarted."""
        self.outlived = 0
        """How many processes, itself or its children, still ran after SIGTERM and the grace period."""

    async def __aenter__(self) -> Self:
        self._log.write_bytes(b"")
        await self._start()
        self._trimmer = asyncio.create_task(self._trim())
        return self

    async def _start(self) -> None:
        with self._log.open("ab") as output:  # in append mode, so that `_trim` can cut the file
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *self._command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=asyncio.subprocess.STDOUT,
                    env=self._environment,
                    start_new_session=True,  # its children are found by their session
                )
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or error
                raise UsageError(f"sut: cannot run {self._command[0]!r}: {reason}") from None
        self._exit = asyncio.create_task(self._process.wait())
        if self._reaper is not None:
            self._reaper.track(self._process.pid)

    async def restart(self) -> None:
        """Stop it with SIGTERM, as a deployment does, and start it again; what it leaves running is killed."""
        self._started_again.clear()
        try:
            await self.stop()
            self.restarts += 1
            await self._start()
        finally:
            self._started_again.set()

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._trimmer is not None:
            self._trimmer.cancel()
        await self.stop()

    async def _trim(self) -> None:
        """Cut the log when it is too large: a server may print for days."""
        while True:
            await asyncio.sleep(_TRIM_EVERY_S)
            with contextlib.suppress(OSError):
                if self._log.stat().st_size > _MOST_LOG_BYTES:
                    with self._log.open("r+b") as log:
                        log.seek(-_KEPT_LOG_BYTES, os.SEEK_END)
                        newest = log.read()
                        newest += log.read()  # printed since: perhaps the reason why it ended
                        log.seek(0)
                        log.truncate()
                        log.write(b"[leakline: what was printed before has been cut]\n" + newest)

    def _tail(self, size: int) -> bytes:
        with self._log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - size))
            return log.read()

    @property
    def pid(self) -> int:
        """Process id of the command that was started."""
        if self._process is None:
            raise RuntimeError("the SUT has not been started")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the command that was started still runs, or is being started again."""
        is_between = not self._started_again.is_set()
        return is_between or (self._process is not None and self._process.returncode is None)

    async def ended(self) -> None:
        """Wait until the process has ended, by itself or stopped for good; a restart does not count."""
        process = None
        while process is not self._process:
            process = self._process
            if self._exit is not None:
                await asyncio.wait({self._exit})
            await self._started_again.wait()

    async def alive(self, work: Awaitable[T]) -> T:
        """The result of `work`. Raises ServerEndedError when the server ends first; `work` is cancelled then."""
        task = asyncio.ensure_future(work)
        ended = asyncio.ensure_future(self.ended())
        try:
            await asyncio.wait({task, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not self.is_running:
                raise ServerEndedError(self.how_it_ended())
            return await task
        finally:
            for pending in (task, ended):
                pending.cancel()
            await asyncio.gather(task, ended, return_exceptions=True)

    def how_it_ended(self) -> str:
        """For an error message: `exited with status 3` or `was killed by SIGKILL`, and its last lines of output."""
        status = self._process.returncode if self._process is not None else None
        if status is None:
            return "is still running"
        if status < 0:
            try:
                name = signal.Signals(-status).name
            except ValueError:
                name = f"signal {-status}"
            text = f"was killed by {name}"
        else:
            text = f"exited with status {status}"
        lines = self.last_lines()
        return text + (f"; it printed: {' | '.join(lines)}" if lines else ", having printed nothing")

    def printed(self) -> str:
        """The end of what it printed, at most 8 MiB."""
        try:
            return self._tail(_MOST_PRINTED_BYTES).decode("utf-8", "replace")
        except OSError:
            return ""

    def last_lines(self) -> list[str]:
        """The last five lines that it printed, without control characters."""
        try:
            text = self._tail(4000).decode("utf-8", "replace")
        except OSError:
            return []
        lines = ["".join(c if c.isprintable() else " " for c in line).strip() for line in text.splitlines()]
        return [line for line in lines if line][-_LAST_LINES:]

    async def until_listening(self, host: str, port: int, timeout_s: float) -> None:
        """Wait until it accepts connections. Raises RunError when it ends first, or after `timeout_s` seconds."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if not self.is_running:
                raise RunError(f"the SUT never listened on {host}:{port}: it {self.how_it_ended()}")
            if await is_listening(host, port):
                return
            await asyncio.sleep(_POLL_S)
        lines = self.last_lines()
        printed = f"; it printed: {' | '.join(lines)}" if lines else ""
        raise RunError(f"the SUT did not listen on {host}:{port} within {timeout_s:g} s{printed}")

    async def stop(self) -> None:
        """End the process with all that it started: SIGTERM to itself, SIGKILL to whatever is left after `stop_s`."""
        process = self._process
        if process is None:
            return
        family = members(process.pid)
        if process.returncode is None:
            # Not process.terminate(): it may reap a process that has just ended before asyncio does, and its exit
            # status would be lost.
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(process.pid).terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), self._stop_s)
            await _until_gone(family, _EXIT_GRACE_S)
        left = {*family, *members(process.pid)}
        self.outlived += sum(is_running(member) for member in left)
        for member in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        await process.wait()
        await _until_gone(left, STOP_S)
        if self._reaper is not None:
            self._reaper.forget(process.pid)

    def family(self, *, ended: bool = False) -> list[psutil.Process]:
        """The process and its descendants that run; with `ended`, zombies too."""
        return members(self.pid, ended=ended)


async def _until_gone(processes: Iterable[psutil.Process], limit_s: float) -> None:
    left, deadline = list(processes), time.monotonic() + limit_s
    while any(is_running(process) for process in left) and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(_POLL_S)
