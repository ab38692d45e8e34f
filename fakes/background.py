"""Runs the fakes on an event loop in a thread of its own, for tests and scripts that are not async."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_STOP_S = 10.0
"""Seconds that the thread has to end."""


class Background(Generic[T]):
    """Keeps an asynchronous context manager open in a thread. Use as a context manager itself.

    Raises what entering the other one raises.
    """

    value: T
    """What the asynchronous context manager gave on entering."""

    def __init__(self, make: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        self._make = make
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="leakline-fakes", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._manager = self.run(self._create())
            self.value = self.run(self._manager.__aenter__())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.run(self._manager.__aexit__(kind, error, traceback))
        finally:
            self._end()

    def run(self, work: Coroutine[Any, Any, R], timeout_s: float = 60.0) -> R:
        """The result of `work`, run in the fakes' thread. Raises TimeoutError after `timeout_s` seconds."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s)

    async def _create(self) -> AbstractAsyncContextManager[T]:
        return self._make()  # in the loop's own thread, since it may need the running loop

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_STOP_S)
        self._loop.close()
