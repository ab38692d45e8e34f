"""The lines of what leaks: a few more calls, while the agents note where things are made."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from leakline.harness.attribute import findings, unexplained
from leakline.harness.data.model import MEMORY, Allocation, Finding, Growth, Resource
from leakline.harness.data.survey import Survey
from leakline.harness.measure.agents import Language
from leakline.harness.run import record
from leakline.harness.run.stage import Stage

_WATCH_CYCLES = 13
"""A prime: what is made once in so many calls does not divide it."""
_MOST_WATCH_CYCLES = 101
_REST_S = 15.0
"""For what does not leak to be gone: a server that is watched may do other things, and give up after ten seconds."""
_DEEP_WATCH_CYCLES = 5
"""Few, and one at a time: whole stacks of allocations make a server ten times slower."""


class Lines:
    """Finds them for one run, `at_a_time` calls together."""

    def __init__(self, stage: Stage, at_a_time: int) -> None:
        self.allocations: tuple[Allocation, ...] = ()
        """What was allocated a call, by line, in the calls that were watched."""
        self.beside: tuple[str, ...] = ()
        """Files that memray wrote beside the report."""
        self._stage = stage
        self._agents = stage.agents
        self._calls = stage.calls
        self._sut = stage.sut
        self._counters = stage.counters
        self._at_a_time = at_a_time
        self._most: dict[Resource, float] = {}

    async def find(
        self, growths: Sequence[Growth], most: Mapping[Resource, float], kinds: str
    ) -> tuple[Finding, ...]:
        """The findings of what leaks.

        `most` is what there was of each resource at the most between calls, and `kinds` says in words which
        descriptors and files there are more of.
        """
        leaking = [g for g in growths if g.state == "leaking"]
        if not leaking:
            return ()
        still = {g.resource for g in growths if g.state == "clean"} - {"threads"}  # memray has one of its own
        self._most = {name: most[name] for name in still if name in most}
        with self._calls.patiently():
            survey, deep = await self._watch(growths, leaking)
        found = findings.build(growths, survey, Path.cwd(), deep, kinds)
        self.allocations = record.allocations(survey, deep)
        self._stage.journal.write("watched", findings=[asdict(finding) for finding in found])
        return found

    async def _watch(
        self, growths: Sequence[Growth], leaking: Sequence[Growth]
    ) -> tuple[Survey | None, Survey | None]:
        """What the agents saw of a few calls, and with whole stacks of allocations of a few more; None where not."""
        # What outlives a server that is stopped was made in a process that is no more.
        if not self._agents.present or self._stage.scenario.restart_after_s is not None:
            return None, None
        rarest = min((g.per_cycle for g in leaking if g.resource not in MEMORY), default=1.0)
        cycles = min(_MOST_WATCH_CYCLES, max(_WATCH_CYCLES, math.ceil(4 / rarest)))
        self._stage.observer.phase("finding the lines")
        await self._agents.watch()
        async for _ in self._calls.batches(cycles, self._at_a_time):
            await self._counters.rest()  # as between the calls that were measured: it may matter to what leaks
        survey = await self._survey(cycles)
        if not unexplained.needs_deep_watch(growths, survey):
            return survey, None
        self._stage.observer.phase("finding the lines that allocate")
        await self._agents.watch(deep=True)
        with self._calls.patiently(deep=True):
            await self._stage.make(_DEEP_WATCH_CYCLES, 1)
            deep = await self._survey(_DEEP_WATCH_CYCLES)
        deep = unexplained.with_pieces(growths, survey, deep)
        if unexplained.needs_native_watch(growths, survey, deep) and await self._agents.watch_native():
            self._stage.observer.phase("finding the lines that allocate in C")
            self._most.pop("fds", None)  # memray has files of its own, too
            await self._stage.make(_DEEP_WATCH_CYCLES, 1)
            native = await self._survey(_DEEP_WATCH_CYCLES, of="Python")
            self.beside = await record.memray_reports(self._agents.native_traces, self._stage.directory)
            deep = unexplained.clearest(growths, survey, deep, native)
        return survey, deep

    async def _survey(self, cycles: int, of: Language | None = None) -> Survey:
        """What is alive of `cycles` watched calls, once there is no more than usual of what does not leak."""
        await self._counters.until_no_more(self._most, _REST_S)
        return await self._sut.alive(self._agents.survey(cycles, of=of))
