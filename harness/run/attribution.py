"""The allocation sites of what leaks: a few more calls, in trace windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from leakline.harness.attribute import findings
from leakline.harness.attribute.trace_plan import Depth, Traced, Window, trace_plan
from leakline.harness.data.model import BYTES, Allocation, Finding, Growth, Resource
from leakline.harness.data.survey import Survey
from leakline.harness.run import record
from leakline.harness.run.cool_down import until_no_more_than
from leakline.harness.run.stage import Stage

_REST_S = 15.0
"""How long what does not leak gets to be gone before survivors are counted: a server that is traced is slow, and a
library may give up a connection that ended badly after ten seconds (`websockets` does)."""

_PHASES: Mapping[Depth, str] = {
    "things": "tracing where things are made",
    "stacks": "tracing allocations with their stacks",
    "native": "tracing what C code allocates",
}


class Attribution:
    """Attributes what leaks in one run, `at_a_time` calls together."""

    def __init__(self, stage: Stage, at_a_time: int) -> None:
        self.allocations: tuple[Allocation, ...] = ()
        """What was allocated a call, by line, in the trace windows."""
        self.artifacts: tuple[str, ...] = ()
        """Files that memray wrote next to the report."""
        self._stage = stage
        self._agents = stage.agents
        self._calls = stage.calls
        self._sut = stage.sut
        self._counters = stage.counters
        self._at_a_time = at_a_time

    async def find(
        self, growths: Sequence[Growth], most: Mapping[Resource, float], kinds: str
    ) -> tuple[Finding, ...]:
        """The findings of what leaks.

        `most` is what there was of each resource at the most between calls, and `kinds` says in words which
        descriptors and files there are more of.
        """
        if not any(growth.state == "leaking" for growth in growths):
            return ()
        usual = {g.resource: most[g.resource] for g in growths if g.state == "clean" and g.resource in most}
        for resource in ("threads", *BYTES):  # memray has a thread of its own, and traces are memory
            usual.pop(resource, None)
        traced = await self._trace(growths, usual)
        survey, deep = (traced.survey, traced.deep) if traced is not None else (None, None)
        found = findings.build(growths, survey, Path.cwd(), deep, kinds)
        self.allocations = record.allocations(survey, deep)
        self._stage.journal.write("watched", findings=[asdict(finding) for finding in found])
        return found

    async def _trace(self, growths: Sequence[Growth], usual: Mapping[Resource, float]) -> Traced | None:
        """What survived the trace windows; None where no agent can trace."""
        # What outlives a server that is stopped was made in a process that is no more.
        if not self._agents.present or self._stage.scenario.restart_after_s is not None:
            return None
        plan = trace_plan(growths)
        window = next(plan)
        while True:
            survey = await self._through(window, usual)
            try:
                window = plan.send(survey)
            except StopIteration as done:
                traced: Traced = done.value
                return traced

    async def _through(self, window: Window, usual: Mapping[Resource, float]) -> Survey | None:
        """Make the window's calls; what survived, once there is no more than usual of what does not leak."""
        is_native, is_deep = window.depth == "native", window.depth != "things"
        if is_native:
            if not await self._agents.begin_native_trace():
                return None
        else:
            await self._agents.begin_trace(deep=is_deep)
        self._stage.observer.phase(_PHASES[window.depth])
        with self._calls.patiently(deep=is_deep):
            if is_deep:
                await self._stage.make(window.cycles, 1)
            else:
                async for _ in self._calls.batches(window.cycles, self._at_a_time):
                    await self._counters.until_idle()  # as after the calls that were measured: it may matter
            if is_native:
                usual = {name: most for name, most in usual.items() if name != "fds"}  # memray has files of its own
            await until_no_more_than(usual, self._counters.read_cheap, length_s=_REST_S)
            survey = await self._sut.alive(self._agents.survey(window.cycles, of="Python" if is_native else None))
        if is_native:
            self.artifacts = await record.memray_reports(self._agents.native_traces, self._stage.directory)
        return survey
