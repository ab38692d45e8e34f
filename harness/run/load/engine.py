"""The call engine of a load run: an event loop in an OS thread of its own, apart from whatever else a process does.

Locust's process is monkey-patched by gevent, locks and sockets too. So the engine's thread is a native one, its loop
is uvloop's, which uses none of Python's sockets, and between the threads go plain callbacks alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import count
from types import TracebackType
from typing import Self

from leakline.fakes.faults import FaultPlan, Rule
from leakline.fakes.faults.plan import CALLER_ENDPOINTS
from leakline.fakes.ledger import Ledger
from leakline.fakes.serving import reduce_garbage_collection
from leakline.fakes.twilio import Pace
from leakline.fakes.twilio.lateness import Lateness
from leakline.harness.drive.telephone import CallResult, Telephone
from leakline.scenarios.scenario import Scenario


@dataclass(frozen=True)
class CallOutcome:
    """What became of a call that was handed to the engine."""

    result: CallResult | None
    """How it went; None when it was hung up from outside, or failed in a way that no call should."""
    seconds: float
    """Real seconds from the first ring to the end."""
    error: str = ""
    """What went wrong within the engine itself."""


class Handle:
    """A call that has been handed over."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._task: asyncio.Task[CallResult] | None = None
        self._is_hung_up = False

    def hang_up(self) -> None:
        """End the call; from any thread."""
        self._loop.call_soon_threadsafe(self._hang_up)

    def runs_as(self, task: asyncio.Task[CallResult]) -> None:
        """Note the task that makes the call; in the engine's thread."""
        self._task = task
        if self._is_hung_up:
            task.cancel()

    def _hang_up(self) -> None:
        self._is_hung_up = True
        if self._task is not None:
            self._task.cancel()


class Engine:
    """Makes calls in its own thread. Its methods may be called from any other. Use as a context manager.

    Args:
        speed: call seconds per second.
        start_thread: starts a native thread; under gevent's patches, `threading` would start a greenlet.
        first_number: the calls' SIDs count from it: engines that call one server need their own.
    """

    def __init__(
        self,
        *,
        speed: float = 1.0,
        start_thread: Callable[[Callable[[], None]], object],
        first_number: int = 1,
    ) -> None:
        self._pace = Pace(speed)
        self._numbers = count(first_number)
        self._telephones: dict[tuple[Rule, ...], Telephone] = {}
        self._start_thread = start_thread
        self._loop = _new_loop()
        self._tasks: set[asyncio.Task[CallResult]] = set()
        self._is_over = False

    def __enter__(self) -> Self:
        self._start_thread(self._run)
        return self

    def __exit__(self, _k: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None) -> None:
        if not self._is_over:
            self._is_over = True
            self._loop.call_soon_threadsafe(self._loop.stop)

    def take_lateness(self) -> Lateness:
        """How late the callers' frames were since this was last asked."""
        taken, self._pace.lateness = self._pace.lateness, Lateness()
        return taken

    def place(self, url: str, scenario: Scenario, done: Callable[[CallOutcome], None]) -> Handle:
        """Make one call, by a voice webhook or straight to a stream; `done` is called in the engine's thread."""
        handle = Handle(self._loop)
        self._loop.call_soon_threadsafe(self._begin, url, scenario, done, handle)
        return handle

    def _begin(self, url: str, scenario: Scenario, done: Callable[[CallOutcome], None], handle: Handle) -> None:
        began = time.monotonic()

        def over(task: asyncio.Task[CallResult]) -> None:
            self._tasks.discard(task)
            seconds = time.monotonic() - began
            if task.cancelled():
                done(CallOutcome(None, seconds))
            elif (error := task.exception()) is not None:  # one call's trouble must not take the others with it
                done(CallOutcome(None, seconds, f"{type(error).__name__}: {error}"))
            else:
                done(CallOutcome(task.result(), seconds))

        task = self._loop.create_task(self._telephone_for(scenario).call(url, scenario))
        self._tasks.add(task)
        task.add_done_callback(over)
        handle.runs_as(task)

    def _telephone_for(self, scenario: Scenario) -> Telephone:
        """One whose own end fails as the scenario has it; the rest of its faults are the model's."""
        rules = tuple(r for r in scenario.fault_rules if any(fnmatchcase(on, r.on) for on in CALLER_ENDPOINTS))
        if rules not in self._telephones:
            plan = FaultPlan(rules)
            self._telephones[rules] = Telephone(Ledger(), pace=self._pace, faults=plan, numbers=self._numbers)
        return self._telephones[rules]

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        reduce_garbage_collection()
        try:
            self._loop.run_forever()
            tasks = tuple(self._tasks)  # what still talks is hung up
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        finally:
            self._loop.close()


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
