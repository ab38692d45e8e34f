"""Wakes an event loop within some tens of microseconds, where epoll's own timeouts are whole milliseconds.

It uses Linux's timerfd (timerfd_create(2)), a file that becomes readable at a set time. Python has it from 3.13 on
(`os.timerfd_create`), so glibc's function is called. On other systems the loop's own timers are used.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import heapq
import os
import sys
import time
from collections.abc import Callable
from itertools import count

_TFD_TIMER_ABSTIME = 1
_FLAGS = os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)
_NANOSECONDS = 1_000_000_000


class Alarm:
    """Calls back at set times of the monotonic clock, on one event loop. It keeps a file open only while it waits.

    Make it inside a running loop.
    """

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._file = -1

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Call `call` at `when`, in seconds of the monotonic clock, or as soon as possible after."""
        if self._file < 0 and not self._open():
            self.loop.call_at(when, call)  # the clocks of asyncio and uvloop are the monotonic one too
            return
        heapq.heappush(self._due, (when, next(self._numbers), call))
        if self._due[0][0] == when:
            self._set(when)

    def _open(self) -> bool:
        self._file = _create()
        if self._file >= 0:
            self.loop.add_reader(self._file, self._ring)
        return self._file >= 0

    def _set(self, when: float) -> None:
        # A time of zero would disarm the timer.
        ns = max(1, round(when * _NANOSECONDS))
        _settime(self._file, ns // _NANOSECONDS, ns % _NANOSECONDS)

    def _ring(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._file, 8)
        now = time.monotonic()
        try:
            while self._due and self._due[0][0] <= now:
                heapq.heappop(self._due)[2]()
        finally:  # an exception of one callback must not prevent the others
            if self._due:
                self._set(self._due[0][0])
            else:
                self.loop.remove_reader(self._file)
                self._close()

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __del__(self) -> None:
        self._close()  # for a loop that ended before all callbacks were due


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


def _functions() -> tuple[Callable[[int, int], int], Callable[..., int]] | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        return libc.timerfd_create, libc.timerfd_settime
    except AttributeError:
        return None


_FUNCTIONS = _functions()


def _create() -> int:
    """A new timer's file descriptor; -1 where there is none."""
    return _FUNCTIONS[0](time.CLOCK_MONOTONIC, _FLAGS) if _FUNCTIONS is not None else -1


def _settime(file: int, seconds: int, nanoseconds: int) -> None:
    spec = _Itimerspec(_Timespec(0, 0), _Timespec(seconds, nanoseconds))
    if _FUNCTIONS is not None:
        _FUNCTIONS[1](file, _TFD_TIMER_ABSTIME, ctypes.byref(spec), None)
