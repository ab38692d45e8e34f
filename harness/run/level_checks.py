"""Measures what is judged by its level: wake-ups while idle, memory within a call, failures that go unsaid.

`judge/levels.py` judges; here it is measured, and for what is too high the lines are traced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from leakline.fakes.faults import FaultPlan
from leakline.fakes.ledger import Ledger
from leakline.harness.attribute.sites import site_of
from leakline.harness.data.model import Finding, Frame, Level, Resource
from leakline.harness.data.survey import MIN_SURVIVORS_PER_CALL, Caught, SiteCount
from leakline.harness.drive.batches import Calls
from leakline.harness.judge import levels
from leakline.harness.measure import process
from leakline.harness.measure.agents import Agents
from leakline.harness.measure.counters import Counters
from leakline.harness.server.process import Sut
from leakline.scenarios.scenario import Scenario, ScenarioError

_IDLE_S = 1.0
_CALLS_WITH_ERRORS = 5
_LONG_CALLS = 3
_LATE = 0.85
_BEAT_S = 0.05


class _NotMeasuredError(Exception):
    """Why a level cannot be measured."""


class Checks:
    """The levels of one run."""

    def __init__(
        self,
        scenario: Scenario,
        sut: Sut,
        agents: Agents,
        ledger: Ledger,
        faults: FaultPlan,
        calls: Calls,
        counters: Counters,
    ) -> None:
        self._scenario = scenario
        self._sut = sut
        self._agents = agents
        self._ledger = ledger
        self._faults = faults
        self._calls = calls
        self._counters = counters
        self.unmeasured: dict[Resource, str] = {}
        """{resource: why its level was not measured}, of those asked for."""

    async def judge(self, *, peak: bool) -> tuple[Level, ...]:
        """The levels; `peak` says whether to make long calls too."""
        found = []
        before = process.wakeups(self._sut)
        await self._sut.alive(asyncio.sleep(_IDLE_S))
        after = process.wakeups(self._sut)
        woke = [after[pid] - before[pid] for pid in before.keys() & after.keys()]
        if woke:  # each process has a loop of its own: the busiest is judged
            found.append(levels.wakeups(max(woke), _IDLE_S))
        else:
            self.unmeasured["wakeups"] = process.NOT_REPORTED
        if self._faults.has_struck:
            logged = levels.error_lines(self._sut.printed())
            found.append(levels.silent_errors(self._failed_for_good(), logged))
        if peak:
            found += await self._judge_peak()
        return tuple(found)

    async def explain(self, level: Level, root: Path) -> Finding:
        """A finding of a level that is too high, with the lines that are responsible as far as they can be traced."""
        stacks: Sequence[Sequence[Frame]] = ()
        if self._agents.present:
            with self._calls.patiently():
                stacks = await self._stacks(level)
        sites = [site for stack in stacks if (site := site_of(stack, root)) is not None]
        unique = tuple(dict.fromkeys(sites))
        return Finding(level.resource, level.value, level, unique, (), tuple(stacks[0]) if stacks else ())

    async def _stacks(self, level: Level) -> Sequence[Sequence[Frame]]:
        match level.resource:
            case "wakeups":
                await self._agents.begin_trace()
                await self._sut.alive(asyncio.sleep(_IDLE_S))
                survey = await self._sut.alive(self._agents.survey(1))
                return [row.stack for row in survey.timers_set[:1]]
            case "silent_errors":
                return [(caught,) for caught in (await self._swallowing())[:1]]
            case "peak_heap":
                return await self._allocating()
            case _:
                return []

    def _failed_for_good(self) -> int:
        """Calls in which an exchange with the model failed and was not made good by a later one."""
        last = {}
        for connection in self._ledger.ended():
            if connection.service == "openai":
                last[connection.kind, connection.call or connection.id] = connection
        # A request of calls that run at the same time is of no call for certain: not more than all can have failed.
        return min(self._calls.made, sum(connection.has_failed for connection in last.values()))

    async def _judge_peak(self) -> list[Level]:
        try:
            if self._scenario.restart_after_s is not None:
                raise _NotMeasuredError("the server is stopped in the middle of its calls")
            short, long, longer = [await self._peak(self._scenario.stretched(times)) for times in levels.CALL_LENGTHS]
        except (_NotMeasuredError, ScenarioError) as why:
            self.unmeasured["peak_heap"] = str(why)
            return []
        return [levels.peak_heap(short, long, longer)]

    async def _peak(self, scenario: Scenario) -> float:
        """Bytes of memory above rest within such a call: the least of a few calls, since garbage may pile up."""
        seen = []
        for _ in range(_LONG_CALLS):
            rest = (await self._counters.quiet())["rss"]
            if not process.reset_peak(self._sut):
                raise _NotMeasuredError(process.NOT_REPORTED)
            if await self._sut.alive(self._calls.one(scenario)):
                await self._counters.quiet()
                seen.append(process.peak_above(self._sut, rest))
        if not seen:
            raise _NotMeasuredError(f"none of {_LONG_CALLS} calls of {scenario.seconds:g} s went as scripted")
        return min(seen)

    async def _allocating(self) -> list[Sequence[Frame]]:
        """The stack whose allocations take the most memory late in a long call.

        Allocations are traced by their innermost frame, which costs little. Only if that is a library's are they
        traced by whole stacks: these may slow the server so much that it lags behind the call, and then what it has
        yet to work through takes the most.
        """
        for deep in (False, True):
            with self._calls.patiently(deep=deep):
                heap = await self._retained_late(deep=deep)
            if heap and any(frame.kind == "user" for frame in heap[0].stack):
                return [heap[0].stack]
        return []

    async def _retained_late(self, *, deep: bool) -> list[SiteCount]:
        long_call = self._scenario.stretched(levels.CALL_LENGTHS[1])
        await self._agents.begin_trace(deep=deep)
        call = asyncio.ensure_future(self._calls.one(long_call))
        done_s = 0.0
        while done_s < _LATE * long_call.seconds and not call.done():
            await self._sut.alive(asyncio.sleep(_BEAT_S))
            done_s += _BEAT_S * self._calls.pace.speed
        survey = await self._sut.alive(self._agents.survey(1))
        await self._sut.alive(call)
        await self._counters.quiet()
        return sorted(survey.heap, key=lambda row: -row.size_bytes)

    async def _swallowing(self) -> list[Frame]:
        """Where exceptions are caught that are raised only when a fault strikes."""
        with_faults = await self._caught()
        self._faults.paused = True
        try:
            without = await self._caught()
        finally:
            self._faults.paused = False
        usual = {(caught.frame, caught.type) for caught in without}
        return [
            caught.frame
            for caught in with_faults
            if caught.count >= MIN_SURVIVORS_PER_CALL * _CALLS_WITH_ERRORS
            and (caught.frame, caught.type) not in usual
        ]

    async def _caught(self) -> tuple[Caught, ...]:
        await self._agents.begin_error_trace()
        for _ in range(_CALLS_WITH_ERRORS):
            await self._sut.alive(self._calls.one())
        await self._sut.alive(asyncio.sleep(_IDLE_S))  # between two tries nothing is unanswered either
        await self._counters.quiet()
        return await self._sut.alive(self._agents.caught_errors())
