"""A server that was already running: leakline attaches to it, and leaves it running."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Self

import psutil

from leakline.harness.data.errors import UsageError
from leakline.harness.server.process import Sut

_POLL_S = 0.2
"""How often it is looked up whether the process still runs, in seconds."""


class Attached(Sut):
    """A process that somebody else has started, with its children. It is never stopped.

    Raises UsageError when there is no such process, or it belongs to another user.
    """

    def __init__(self, pid: int) -> None:
        super().__init__((), {}, Path(os.devnull))
        try:
            self._attached = psutil.Process(pid)
            self._attached.num_fds()
        except psutil.NoSuchProcess:
            raise UsageError(f"pid: expected a process that runs, found {pid}") from None
        except psutil.AccessDenied:
            raise UsageError(f"pid: process {pid} belongs to another user") from None

    async def __aenter__(self) -> Self:
        return self

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._attached.pid

    @property
    def name(self) -> str:
        """What its program is called."""
        return self._attached.name()

    @property
    def is_running(self) -> bool:
        """Whether it still runs."""
        return self._attached.is_running() and self._attached.status() != psutil.STATUS_ZOMBIE

    async def ended(self) -> None:
        """Wait until it has ended."""
        while self.is_running:  # noqa: ASYNC110  (not our child: its exit cannot be awaited)
            await asyncio.sleep(_POLL_S)

    def how_it_ended(self) -> str:
        """`ended`: only its parent process can read the exit status."""
        return "ended"

    async def stop(self) -> None:
        """Leave it running."""

    def family(self, *, ended: bool = False) -> list[psutil.Process]:
        """The process and its descendants that run; with `ended`, zombies too."""
        with contextlib.suppress(psutil.NoSuchProcess):
            found = [self._attached, *self._attached.children(recursive=True)]
            return [p for p in found if ended or (p.is_running() and p.status() != psutil.STATUS_ZOMBIE)]
        return []
