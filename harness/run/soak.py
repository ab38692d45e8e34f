"""A soak run, from start to result: start the fakes and the SUT, make calls, sample at quiet points, judge, watch."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from leakline.harness.data.model import MEMORY, Finding, Growth, Level, Resource, RunResult, Sample
from leakline.harness.data.words import truncate
from leakline.harness.drive.governor import govern, idle
from leakline.harness.judge.growth import FIRST_LOOK, FLOOR, LAST_LOOK, MIN_SAMPLES, SECOND_LOOK, floors_for, judge
from leakline.harness.judge.processes import by_process, ended, told, with_children, without_children
from leakline.harness.measure.descriptors import grown
from leakline.harness.run.attribution import Lines
from leakline.harness.run.level_checks import Checks
from leakline.harness.run.observer import Observer, Silent
from leakline.harness.run.settings import SoakSettings
from leakline.harness.run.stage import Measured, Stage, on_stage
from leakline.scenarios.scenario import Scenario

_SETTLE_POLL_S = 0.25
_MOST_SETTLES = 4
"""How many times `settle` is waited, and once more, while there is still less and less of what is suspected."""
_MOST_SAMPLES = 256
"""In so many calls as the settings say: the verdict's time and memory take the square of their number."""
_SUSPECT_SAMPLES = 64
"""The newest samples that a suspicion is looked for in, at each one."""
_FELL = 0.05
"""Part of what memory has grown by that is no noise when it goes."""
_CAME_BACK = 0.2
_STAYED = 0.6


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
        self._ended: dict[str, int] = {}
        self._lines = Lines(stage, self._at_a_time)
        self._first_kinds: Counter[str] = Counter()
        self._began = time.monotonic()

    async def carry_out(self) -> Measured:
        await self._stage.until_ready()
        governor = asyncio.create_task(govern(self._calls.pace, self._sut, most=lambda: self._calls.top_speed))
        try:
            return await self._soak()
        finally:
            governor.cancel()

    async def _soak(self) -> Measured:
        settings = self._settings
        self._observer.phase("warm-up")
        await self._stage.make(settings.warmup, self._at_a_time)
        await self._sut.alive(idle(self._sut))
        self._observer.phase("calls")
        counted_from = self._calls.made
        await self._sample_after(0)
        self._first_kinds = self._counters.kinds()
        await self._measure(settings.cycles, counted_from)
        look = FIRST_LOOK
        levels: tuple[Level, ...] = ()
        while look < LAST_LOOK and self._is_unsure(self._judge(look, more_to_come=True)):
            if look == FIRST_LOOK and _is_any_leaking(levels := await self._look_idle()):
                break
            self._observer.phase("more calls, to be sure")
            await self._measure(settings.cycles, counted_from)
            look += 1
        is_certain = _is_any_leaking(levels)
        growths = await self._settle(self._judge(look if is_certain else max(look, SECOND_LOOK)))
        if settings.peak or not is_certain:
            levels = await self._look_idle(peak=settings.peak)
        self._journal.write("levels", levels=[asdict(level) for level in levels])
        more = grown(self._first_kinds, self._counters.kinds(), self._samples[-1].cycles)
        growths, held = without_children(growths, self._samples)
        names = self._samples[0].values.keys() - {each.resource for each in held}  # there is more of those each time
        most = {name: max(s.values[name] for s in self._samples if name in s.values) for name in names}
        found = with_children(await self._lines.find(growths, most, more), held)
        found = by_process(found, self._samples)
        return self._result(growths, levels, (*found, *await self._explain(levels)))

    async def _look_idle(self, *, peak: bool = False) -> tuple[Level, ...]:
        self._observer.phase("looking at it idle")
        return await self._checks.judge(peak=peak)

    def _judge(self, look: int, *, more_to_come: bool = False) -> tuple[Growth, ...]:
        return judge(self._samples, self._floors(), look=look, more_to_come=more_to_come)

    def _floors(self) -> dict[Resource, float]:
        return floors_for(self._agents.languages, self._samples[-1].cycles)

    def _is_unsure(self, growths: Sequence[Growth]) -> bool:
        """Whether more calls would tell more."""
        if len(self._samples) < MIN_SAMPLES or _is_any_leaking(growths):
            return False  # what is certain is enough to fail: the rest goes with it, or is found once that is mended
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
            for pid in ended(self._samples[0], sample, self._agents.started_anew | self._agents.lost):
                self._ended.setdefault(pid, cycles)
        if not self._suspected and len(self._samples) >= MIN_SAMPLES:
            newest = judge(self._samples[-_SUSPECT_SAMPLES:], self._floors(), look=FIRST_LOOK)
            suspect = next((growth for growth in newest if growth.state == "leaking"), None)
            if suspect is not None:
                self._suspected = True
                self._observer.suspicion(suspect)

    async def _settle(self, growths: Sequence[Growth]) -> tuple[Growth, ...]:
        """Give what grew, or may have, time to go away by itself: what does is bounded by time, and no leak."""
        floors = self._floors()
        suspects = {
            g.resource: g
            for g in growths
            if g.state != "clean" and g.samples >= MIN_SAMPLES and g.per_cycle > floors.get(g.resource, FLOOR)
        }
        if not suspects or not self._settings.settle:
            return tuple(growths)
        self._observer.phase("waiting if it goes away by itself")
        first = self._samples[0].values
        gone, rest = await self._coming_back(suspects, first)
        if gone:
            # What a server keeps while it is busy (pooled connections) went too, which may hide what stays.
            await self._stage.make(self._at_a_time, self._at_a_time)
            values = await self._counters.quiet()
            back = {
                resource: suspects[resource]
                for resource in gone
                if values.get(resource, math.inf) > first[resource] + _STAYED * _grown(suspects[resource])
            }
            gone = {resource: after_s for resource, after_s in gone.items() if resource not in back}
            gone |= await self._from_rest_to_rest(back, rest)
        self._journal.write("settled", came_back=gone)
        note = "grew while calls were made, and was gone {:.1f} s after"
        return tuple(
            replace(g, state="clean", note=note.format(gone[g.resource])) if g.resource in gone else g
            for g in growths
        )

    async def _from_rest_to_rest(
        self, suspects: Mapping[Resource, Growth], rest: Mapping[Resource, float]
    ) -> dict[Resource, float]:
        """{resource: seconds after which it was gone} of the suspects of which no more are left after as many calls
        again, each time that the server came to rest: a few calls may keep for a while what they need, by chance.
        """
        if not suspects:
            return {}
        self._observer.phase("more calls, from rest to rest")
        await self._stage.make(max(growth.cycles for growth in suspects.values()), self._at_a_time)
        gone, _ = await self._coming_back(suspects, rest)
        return gone

    async def _coming_back(
        self, suspects: Mapping[Resource, Growth], first: Mapping[Resource, float]
    ) -> tuple[dict[Resource, float], dict[Resource, float]]:
        """({resource: seconds after which it was gone} of the suspects that go away, what there is then).

        `settle` is waited, and longer while there is less and less of one: a library may give a connection up after
        ten seconds, each at its own time.
        """
        began, settle = time.monotonic(), self._settings.settle
        until = began + settle
        least = dict.fromkeys(suspects, math.inf)
        values: dict[Resource, float] = {}
        came_back: dict[Resource, float] = {}
        while len(came_back) < len(suspects) and (now := time.monotonic()) < until:
            await asyncio.sleep(_SETTLE_POLL_S)
            values = await self._counters.read()
            for resource, growth in suspects.items():
                value, grown = values.get(resource, math.inf), _grown(growth)
                if value <= first[resource] + _CAME_BACK * grown:
                    came_back.setdefault(resource, time.monotonic() - began)
                else:
                    came_back.pop(resource, None)
                if value <= least[resource] - (_FELL * grown if resource in MEMORY else 1):
                    if math.isfinite(least[resource]):
                        until = min(now, began + _MOST_SETTLES * settle) + settle
                    least[resource] = value
        return came_back, values

    async def _explain(self, levels: Sequence[Level]) -> list[Finding]:
        """The findings of levels that are too high."""
        found = []
        for level in levels:
            if level.state == "leaking":
                self._observer.phase(f"finding the lines of {level.resource}")
                found.append(await self._checks.explain(level, Path.cwd()))
        return found

    def _loss(self, pid: str, cycles: int) -> str:
        if int(pid) in self._agents.started_anew or pid not in self._samples[-1].processes:
            return f"process {pid} ended or started anew, and what it kept went with it: seen after {cycles} calls"
        return (
            f"process {pid} closed what its agent talks by, and is not seen into from then on: after {cycles} calls"
        )

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
            samples=told(self._samples),
            growths=tuple(growths),
            findings=found,
            levels=tuple(levels),
            unmeasured=self._checks.unmeasured,
            notes=tuple(notes),
            doubts=tuple(truncate(self._loss(pid, cycles) for pid, cycles in self._ended.items())),
            allocations=self._lines.allocations,
            artifacts=self._lines.beside,
        )


def _is_any_leaking(judged: Iterable[Growth | Level]) -> bool:
    return any(each.state == "leaking" for each in judged)


def _grown(growth: Growth) -> float:
    """By how much, over all calls."""
    return max(0.0, growth.per_cycle) * growth.cycles
