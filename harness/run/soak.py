"""A soak run: warm-up, calls with a sample at the quiet point after each batch, cool-down, trace windows."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from leakline.harness.data.model import Finding, Growth, Level, Resource, RunResult, Sample
from leakline.harness.data.words import truncate
from leakline.harness.drive.governor import govern, until_idle
from leakline.harness.judge.cool_down import MOST_BACK, MOST_LEFT, CoolDown, may_be_left, progress
from leakline.harness.judge.growth import (
    FINAL_ANALYSIS,
    FIRST_ANALYSIS,
    FLOOR,
    MIN_SAMPLES,
    SECOND_ANALYSIS,
    floors_for,
    judge,
)
from leakline.harness.judge.processes import attach_children, by_process, ended, separate_children, without_repetition
from leakline.harness.measure.descriptors import grown
from leakline.harness.run.attribution import Attribution
from leakline.harness.run.cool_down import until_over
from leakline.harness.run.level_checks import Checks
from leakline.harness.run.observer import Observer, Silent
from leakline.harness.run.settings import SoakSettings
from leakline.harness.run.stage import Measured, Stage, on_stage
from leakline.scenarios.scenario import Scenario

_MOST_SAMPLES = 256
"""Of one `--cycles`: the time and memory that judging takes grow with the square of their number."""
_SUSPECT_SAMPLES = 64
"""How many of the newest samples are judged, at each one, for the observer to hear of a suspicion early."""


async def soak(
    settings: SoakSettings,
    observer: Observer | None = None,
    *,
    scenario: Scenario | None = None,
    baseline: RunResult | None = None,
) -> RunResult:
    """Soak one server and say what leaks; `scenario` is played instead of the one that the settings name.

    What leaked in the run `baseline`, and leaks no more than it did there, is permitted.

    Raises UsageError for settings that cannot work, RunError when the run cannot be carried through, InternalError
    when leakline itself fails; each time nothing that was started is left running, and the journal holds what was
    seen.
    """
    async with on_stage(settings, observer or Silent(), scenario=scenario, baseline=baseline) as stage:
        return await stage.finish(await _Run(stage).carry_out())


class _Run:
    """The steps of one run, over the parts that `soak` has started."""

    def __init__(self, stage: Stage) -> None:
        self._settings = stage.settings
        self._scenario = stage.scenario
        self._sut = stage.sut
        self._agents = stage.agents
        self._journal = stage.journal
        self._observer = stage.observer
        self._faults = stage.faults
        self._calls = stage.calls
        self._counters = stage.counters
        self._stage = stage
        self._checks = Checks(
            stage.scenario, stage.sut, stage.agents, stage.ledger, stage.faults, stage.calls, stage.counters
        )
        self._at_a_time = max(1, min(self._settings.concurrency, self._settings.cycles // MIN_SAMPLES))
        self._samples: list[Sample] = []
        self._suspected = False
        self._with_agent: tuple[int, ...] = ()
        self._ended: dict[int, int] = {}
        self._attribution = Attribution(stage, self._at_a_time)
        self._first_kinds: Counter[str] = Counter()
        self._began = time.monotonic()

    async def carry_out(self) -> Measured:
        await self._stage.until_ready()
        governor = asyncio.create_task(govern(self._calls.pace, self._sut, top_speed=lambda: self._calls.top_speed))
        try:
            return await self._soak()
        finally:
            governor.cancel()

    async def _soak(self) -> Measured:
        settings = self._settings
        self._observer.phase("warm-up")
        await self._stage.make(settings.warmup, self._at_a_time)
        await self._sut.alive(until_idle(self._sut))
        self._observer.phase("calls")
        counted_from = self._calls.made
        await self._sample_after(0)
        self._with_agent = tuple(pid for pid in self._agents.each if str(pid) in self._counters.processes)
        self._first_kinds = self._counters.kinds()
        await self._measure(settings.cycles, counted_from)
        analysis = FIRST_ANALYSIS
        levels: tuple[Level, ...] = ()
        while analysis < FINAL_ANALYSIS and self._needs_more_calls(self._judge(analysis, more_to_come=True)):
            if analysis == FIRST_ANALYSIS and _is_any_leaking(levels := await self._levels_at_rest()):
                break
            self._observer.phase("more calls, to tell growth from noise")
            await self._measure(settings.cycles, counted_from)
            analysis += 1
        is_certain = _is_any_leaking(levels)
        growths = await self._cool_down(self._judge(analysis if is_certain else max(analysis, SECOND_ANALYSIS)))
        if settings.peak or not is_certain:
            levels = await self._levels_at_rest(peak=settings.peak)
        self._journal.write("levels", levels=[asdict(level) for level in levels])
        more = grown(self._first_kinds, self._counters.kinds(), self._samples[-1].cycles)
        growths, held = separate_children(growths, self._samples)
        names = self._samples[0].values.keys() - {each.resource for each in held}  # there is more of those each time
        most = {name: max(s.values[name] for s in self._samples if name in s.values) for name in names}
        found = attach_children(await self._attribution.find(growths, most, more), held)
        found = by_process(found, self._samples)
        return self._result(growths, levels, (*found, *await self._explain(levels)))

    async def _levels_at_rest(self, *, peak: bool = False) -> tuple[Level, ...]:
        self._observer.phase("measuring it while idle")
        return await self._checks.judge(peak=peak)

    def _judge(self, analysis: int, *, more_to_come: bool = False) -> tuple[Growth, ...]:
        return judge(self._samples, self._floors(), analysis=analysis, more_to_come=more_to_come)

    def _floors(self) -> dict[Resource, float]:
        return floors_for(self._agents.languages, self._samples[-1].cycles)

    def _needs_more_calls(self, growths: Sequence[Growth]) -> bool:
        """Whether more calls would tell more."""
        if len(self._samples) < MIN_SAMPLES or _is_any_leaking(growths):
            return False  # enough to fail: the rest goes with it, or is found once that is fixed
        return any(g.state == "inconclusive" for g in growths)

    async def _measure(self, cycles: int, counted_from: int) -> None:
        """Make at least `cycles` calls in batches, with a sample after each, or after every few of very many.

        All batches are of one size: after many calls at a time a server keeps more, such as pooled connections.
        """
        batches = math.ceil(cycles / self._at_a_time)
        batches_a_sample = math.ceil(batches / _MOST_SAMPLES)
        made = 0
        async for _ in self._calls.batches(self._at_a_time * batches, self._at_a_time):
            made += 1
            if made % batches_a_sample == 0 or made == batches:
                await self._sample_after(self._calls.made - counted_from)

    async def _sample_after(self, cycles: int) -> None:
        values = await self._counters.quiet()
        processes = self._counters.processes
        sample = Sample(cycles, round(time.monotonic() - self._began, 3), values, processes)
        self._samples.append(sample)
        several = {"processes": processes} if len(processes) > 1 else {}
        self._journal.write("sample", cycles=cycles, values=values, **several)
        self._observer.sample(sample)
        if self._scenario.restart_after_s is None:
            for pid in ended(self._with_agent, sample, self._agents.restarted | self._agents.lost):
                self._ended.setdefault(pid, cycles)
        if not self._suspected and len(self._samples) >= MIN_SAMPLES:
            newest = judge(self._samples[-_SUSPECT_SAMPLES:], self._floors(), analysis=FIRST_ANALYSIS)
            suspect = next((growth for growth in newest if growth.state == "leaking"), None)
            if suspect is not None:
                self._suspected = True
                self._observer.suspicion(suspect)

    async def _cool_down(self, growths: Sequence[Growth]) -> tuple[Growth, ...]:
        """Give what grew, or may have, time to go away by itself: what does is bounded by time, and no leak."""
        suspects = {g.resource: g for g in growths if g.state != "clean" and g.samples >= MIN_SAMPLES}
        if not suspects or not self._settings.settle:
            return tuple(growths)
        self._observer.phase("cool-down")
        first = self._samples[0].values
        gone, rest = await self._until_gone(suspects, first)
        if gone:
            # What a server keeps while it is busy (pooled connections) went too, which may hide what stays.
            await self._stage.make(self._at_a_time, self._at_a_time)
            values = await self._counters.quiet()
            back = {
                resource: growth
                for resource, growth in suspects.items()
                if resource in gone
                and values.get(resource, math.inf) > first[resource] + self._may_be_left(growth, MOST_BACK)
            }
            gone = {resource: after_s for resource, after_s in gone.items() if resource not in back}
            gone |= await self._measured_again(back, rest)
        self._journal.write("settled", came_back=gone)
        note = "grew while calls were made, and was gone {:.1f} s after"
        return tuple(
            replace(g, state="clean", note=note.format(gone[g.resource])) if g.resource in gone else g
            for g in growths
        )

    async def _measured_again(
        self, suspects: Mapping[Resource, Growth], rest: Mapping[Resource, float]
    ) -> dict[Resource, float]:
        """{resource: seconds after which it was gone} of the suspects of which no more are left after as many calls
        again, each time after a cool-down: a few calls may keep for a while what they need, by chance.
        """
        if not suspects:
            return {}
        self._observer.phase("more calls, and a second cool-down")
        await self._stage.make(max(growth.cycles for growth in suspects.values()), self._at_a_time)
        gone, _ = await self._until_gone(suspects, rest)
        return gone

    async def _until_gone(
        self, suspects: Mapping[Resource, Growth], first: Mapping[Resource, float]
    ) -> tuple[dict[Resource, float], Mapping[Resource, float]]:
        """({resource: seconds after which it was gone} of the suspects that go away, what there is then)."""
        cool_down = CoolDown(
            {resource: first[resource] + self._may_be_left(growth) for resource, growth in suspects.items()},
            now=time.monotonic(),
            length_s=self._settings.settle,
            progress={resource: progress(growth) for resource, growth in suspects.items()},
        )
        values = await until_over(cool_down, self._counters.read)
        return cool_down.gone, values

    def _may_be_left(self, growth: Growth, part: float = MOST_LEFT) -> float:
        return may_be_left(growth, self._floors().get(growth.resource, FLOOR), part)

    async def _explain(self, levels: Sequence[Level]) -> list[Finding]:
        """The findings of levels that are too high."""
        found = []
        for level in levels:
            if level.state == "leaking":
                self._observer.phase(f"tracing {level.resource}")
                found.append(await self._checks.explain(level, Path.cwd()))
        return found

    def _loss(self, pid: int, cycles: int) -> str:
        if pid in self._agents.restarted or str(pid) not in self._samples[-1].processes:
            return (
                f"process {pid} ended or restarted, and what it retained is gone with it: seen after {cycles} calls"
            )
        return f"lost the agent in process {pid}, whose connection was closed: seen after {cycles} calls"

    def _result(self, growths: Sequence[Growth], levels: Sequence[Level], found: tuple[Finding, ...]) -> Measured:
        calls = self._calls.stats
        notes = truncate(
            f"a message that Twilio would refuse: {text} ({n} calls)"
            for text, n in self._calls.problems.most_common()
        )
        notes += [f"the fault {rule} never struck" for rule, times in self._faults.struck if not times]
        if calls.made_again:
            notes.append(
                f"{calls.made_again} calls failed, a whole batch at a time, and were made again at the pace of real "
                "calls; the server took both"
            )
        if self._sut.restarts:
            notes.append(
                f"the server was stopped in the middle of its calls, and started again, {self._sut.restarts} times"
            )
        return Measured(
            calls=calls,
            seconds=round(time.monotonic() - self._began, 3),
            samples=without_repetition(self._samples),
            growths=tuple(growths),
            findings=found,
            levels=tuple(levels),
            unmeasured=self._checks.unmeasured,
            notes=tuple(notes),
            doubts=tuple(truncate(self._loss(pid, cycles) for pid, cycles in self._ended.items())),
            allocations=self._attribution.allocations,
            artifacts=self._attribution.artifacts,
        )


def _is_any_leaking(judged: Iterable[Growth | Level]) -> bool:
    return any(each.state == "leaking" for each in judged)
