"""The calls of a run: made in batches, counted, and given up when the server has died."""

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
_WATCHED_PATIENCE_S = 30.0
_DEEP_SLOWDOWN = 4.0
"""At full speed the restaurant, watched so, took three times the processor time, and the wall time too."""
_LAST_GASP_S = 0.5


class Progress(Protocol):
    """Is told how many of some calls have been made."""

    def calls(self, done: int, total: int) -> None:
        """So many of the phase's calls have been made."""


class Calls:
    """Makes the calls of one run and keeps count of how they went.

    Args:
        url: the server's voice webhook (`http://`) or its Media Streams WebSocket (`ws://`).
        speed: call seconds per second.
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
        """Calls of batches that failed whole, and were made again: they are among those made, and those failed."""
        self.failures: Counter[str] = Counter()
        self.problems: Counter[str] = Counter()
        """What Twilio would have refused of what the server sent."""
        self._url = url
        self._scenario = scenario
        self._sut = sut
        self._ledger = ledger
        self._faults = faults
        self._progress = progress
        self._telephone = Telephone(ledger, pace=self.pace, faults=faults)

    @property
    def top_speed(self) -> float:
        """Call seconds per second: less than was asked for once a caller was too fast to be heard, or in a watch."""
        return min(self._fastest, max(1.0, self._fastest / self._slowdown))

    @property
    def is_patient(self) -> bool:
        """Whether callers wait longer, since the server is slow while it is watched."""
        return self._telephone.patience_s > PATIENCE_S

    @property
    def stats(self) -> CallStats:
        """How they went so far."""
        return CallStats(self.made, self.made - self.failures.total(), dict(self.failures), self.made_again)

    async def batches(self, cycles: int, at_a_time: int) -> AsyncIterator[None]:
        """Make `cycles` calls, `at_a_time` of them together; yields after each such batch.

        Raises ServerEndedError when the SUT ends.
        """
        done = 0
        while done < cycles:
            size = min(at_a_time, cycles - done)
            await self._batch(size)
            done += size
            self._progress.calls(done, cycles)
            yield

    async def one(self, scenario: Scenario | None = None) -> bool:
        """Make one call, by another `scenario` if one is given; whether it goes as scripted, which is counted too."""
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
            self._be_slower(speed / 2)
        return not failure

    @contextlib.contextmanager
    def patiently(self, *, deep: bool = False) -> Iterator[None]:
        """For a `with` in which the server is slow since it is watched: callers wait longer, and all may fail.

        Of a `deep` watch they speak slower too: a server that cannot keep up is sent silence meanwhile, which makes
        more for it to do.
        """
        before = self._telephone.patience_s, self._slowdown
        self._telephone.patience_s, self._slowdown = _WATCHED_PATIENCE_S, _DEEP_SLOWDOWN if deep else 1.0
        self.pace.speed = min(self.pace.speed, self.top_speed)
        try:
            yield
        finally:
            self._telephone.patience_s, self._slowdown = before

    async def _batch(self, size: int) -> None:
        """`size` calls at a time; again, at the pace of real calls, when none of them went as scripted.

        A server that starts on a busy machine may need longer than a fast caller gives it.

        Raises ServerEndedError when the server ended, RunError when none went then either and without a fault.
        """
        made_before = self.made
        for slowly in (False, True):
            failed_before = self.failures.copy()
            if slowly:
                self.made_again += size
                self.pace.speed = min(self.pace.speed, 1.0)
            cut_off = (
                [] if self._scenario.restart_after_s is None else [self._cut_off(self._scenario.restart_after_s)]
            )
            await self._sut.alive(asyncio.gather(*(self.one() for _ in range(size)), *cut_off))
            failed = self.failures - failed_before
            if self.is_patient or self._faults.has_struck or failed.total() < size:
                return
            await self._sut.alive(asyncio.sleep(_LAST_GASP_S))  # did they fail because the server has just died?
        reasons = ", ".join(f"{reason} ({number} calls)" for reason, number in failed.most_common(3))
        when = f"after {made_before} calls " if made_before else ""
        raise RunError(f"{when}no call of {size} went as scripted: {reasons}{self._advice()}")

    def _be_slower(self, speed: float) -> None:
        """From now on: a server that takes no audio until its model is there misses what a fast caller has to say."""
        self._fastest = min(self._fastest, max(speed, 1.0))
        self.pace.speed = min(self.pace.speed, self.top_speed)

    async def _cut_off(self, after_s: float) -> None:
        await asyncio.sleep(after_s / self.pace.speed)
        await self._restart()

    def _advice(self) -> str:
        if self._ledger.seen("realtime") or self._ledger.seen("unknown"):
            return ""
        return (
            "; the server never opened a Realtime session with the fake: does it take its address from "
            "OPENAI_BASE_URL or OPENAI_REALTIME_URL?"
        )
