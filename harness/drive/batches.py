"""The calls of a run: made in batches, counted, and stopped when the server has ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Protocol

from leakline.fakes.faults import FaultPlan
from leakline.fakes.ledger import Ledger
from leakline.fakes.twilio import Pace
from leakline.harness.data.errors import RunError
from leakline.harness.data.model import CallStats
from leakline.harness.drive.scripted_call import PATIENCE_S
from leakline.harness.drive.telephone import Telephone
from leakline.harness.server.process import Sut
from leakline.scenarios.scenario import Scenario

_CALL_LIMIT_S = 180.0
"""Real seconds, on top of the script's own length, after which a call is given up and counts as failed."""
_TRACED_PATIENCE_S = 30.0
"""How long callers wait for the agent to say something in a trace window, in seconds."""
_DEEP_SLOWDOWN = 4.0
"""By how much calls are slower while whole stacks are noted: measured at full speed, the reference server then took
three times the processor time."""
_GRACE_S = 0.5
"""Real seconds in which a server that has just crashed is noticed to have ended, after a batch that failed whole."""


class Progress(Protocol):
    """What reports a phase's progress to the user."""

    def calls(self, done: int, total: int) -> None:
        """`done` of the phase's `total` calls have been made."""


class Calls:
    """Makes the calls of one run and keeps count of how they went.

    Args:
        url: the server's voice webhook (`http://`) or its Media Streams WebSocket (`ws://`).
        speed: call seconds per real second to begin with, and at the most.
        restart: stops the server and starts it again, for a scenario with `restart_after_s`.
    """

    def __init__(
        self,
        url: str,
        speed: float,
        scenario: Scenario,
        sut: Sut,
        ledger: Ledger,
        faults: FaultPlan,
        progress: Progress,
        restart: Callable[[], Awaitable[None]],
    ) -> None:
        self._restart = restart
        self.pace = Pace(speed)
        self._fastest = speed
        self._slowdown = 1.0
        self.made = 0
        self.made_again = 0
        """Calls of batches in which every call failed, so that the batch was repeated. Both tries count as made."""
        self.failures: Counter[str] = Counter()
        """How many calls did not go as scripted, by reason."""
        self.problems: Counter[str] = Counter()
        """Messages of the server that Twilio would have refused: how many calls by the first such message."""
        self._url = url
        self._scenario = scenario
        self._sut = sut
        self._ledger = ledger
        self._faults = faults
        self._progress = progress
        self._telephone = Telephone(ledger, pace=self.pace, faults=faults)

    @property
    def top_speed(self) -> float:
        """The highest speed now, in call seconds per real second.

        It is below the one asked for after a caller was too fast for the server to answer, and in a trace window.
        """
        return min(self._fastest, max(1.0, self._fastest / self._slowdown))

    @property
    def is_patient(self) -> bool:
        """Whether callers wait longer, as in a trace window, which slows the server."""
        return self._telephone.patience_s > PATIENCE_S

    @property
    def stats(self) -> CallStats:
        """How many calls were made so far, and how they went."""
        return CallStats(self.made, self.made - self.failures.total(), dict(self.failures), self.made_again)

    async def batches(self, cycles: int, at_a_time: int) -> AsyncIterator[None]:
        """Make `cycles` calls in batches of `at_a_time` concurrent ones; yields after each batch.

        Raises ServerEndedError when the server ends, RunError when no call of a batch goes as scripted.
        """
        done = 0
        while done < cycles:
            size = min(at_a_time, cycles - done)
            await self._batch(size)
            done += size
            self._progress.calls(done, cycles)
            yield

    async def one(self, scenario: Scenario | None = None) -> bool:
        """Make one call, by the run's scenario or another, and count it; returns whether it went as scripted."""
        scenario, speed = scenario or self._scenario, self.pace.speed
        limit_s = _CALL_LIMIT_S + scenario.seconds / speed
        try:
            async with asyncio.timeout(limit_s):
                made = await self._telephone.call(self._url, scenario)
            failure, problems, is_unanswered = made.failure, made.problems, made.is_unanswered
        except TimeoutError:
            failure, problems, is_unanswered = f"not over after {limit_s:.0f} s", (), False
        self.made += 1
        self.problems.update(problems[:1])
        if failure:
            self.failures[failure] += 1
        if is_unanswered and not self._faults.has_struck:
            self._slow_down_to(speed / 2)
        return not failure

    @contextlib.contextmanager
    def patiently(self, *, deep: bool = False) -> Iterator[None]:
        """For the length of a trace window, which slows the server: callers wait longer, and all of them may fail.

        With `deep` (whole stacks are noted) they speak slower too. A server that falls behind is sent silence
        meanwhile, so at full speed its backlog would only grow.
        """
        before = self._telephone.patience_s, self._slowdown
        self._telephone.patience_s, self._slowdown = _TRACED_PATIENCE_S, _DEEP_SLOWDOWN if deep else 1.0
        self.pace.speed = min(self.pace.speed, self.top_speed)
        try:
            yield
        finally:
            self._telephone.patience_s, self._slowdown = before

    async def _batch(self, size: int) -> None:
        """Make `size` concurrent calls; when all of them fail, make them once more at the speed of real calls.

        A server that starts on a busy machine may need longer than a fast caller waits.

        Raises ServerEndedError when the server ended, RunError when all failed again although no fault had struck.
        """
        made_before = self.made
        for slowly in (False, True):
            failed_before = self.failures.copy()
            if slowly:
                self.made_again += size
                self.pace.speed = min(self.pace.speed, 1.0)
            after_s = self._scenario.restart_after_s
            restart = [] if after_s is None else [self._restart_after(after_s)]
            await self._sut.alive(asyncio.gather(*(self.one() for _ in range(size)), *restart))
            failed = self.failures - failed_before
            if self.is_patient or self._faults.has_struck or failed.total() < size:
                return
            await self._sut.alive(asyncio.sleep(_GRACE_S))  # raises if they failed because it has crashed
        reasons = ", ".join(f"{reason} ({number} calls)" for reason, number in failed.most_common(3))
        when = f"after {made_before} calls " if made_before else ""
        raise RunError(f"{when}no call of {size} went as scripted: {reasons}{self._advice()}")

    def _slow_down_to(self, speed: float) -> None:
        """Cap the speed from now on, at no less than that of real calls.

        A server that drops audio until its model session is open misses what a fast caller says, and never answers.
        """
        self._fastest = min(self._fastest, max(speed, 1.0))
        self.pace.speed = min(self.pace.speed, self.top_speed)

    async def _restart_after(self, after_s: float) -> None:
        await asyncio.sleep(after_s / self.pace.speed)
        await self._restart()

    def _advice(self) -> str:
        if self._ledger.seen("realtime") or self._ledger.seen("unknown"):
            return ""
        return (
            "; the server never opened a Realtime session with the fake: does it take its address from "
            "OPENAI_BASE_URL or OPENAI_REALTIME_URL?"
        )
