"""A soak run, from start to result: start the fakes and the SUT, make calls, sample at quiet points, judge, watch."""

from __future__ import annotations

import asyncio
import math
import os
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Protocol, TypeVar

from fakes.faults import FaultPlan
from fakes.ledger import Ledger
from fakes.openai import OpenAIServer
from fakes.twilio import Pace
from harness import findings, verdict
from harness.errors import RunError, UsageError
from harness.fakes import Telephone, model_environment
from harness.governor import govern
from harness.journal import Journal, new_run_directory
from harness.model import BYTES, MEMORY, CallStats, Finding, Growth, Resource, RunResult, Sample, State
from harness.probes import process
from harness.probes.agent import COUNTED, Agents
from harness.settings import SoakSettings
from harness.sut import Sut, is_listening, parse_command
from scenarios.scenario import Scenario

T = TypeVar("T")

_STILL_PAUSE_S = 0.03
_STILL_LIMIT_S = 8.0
_SETTLE_POLL_S = 0.25
_CALL_LIMIT_S = 180.0
_LAST_GASP_S = 0.5
_WATCH_CYCLES = 13
"""A prime: what is made once in so many calls does not divide it."""
_MOST_WATCH_CYCLES = 101
_DEEP_WATCH_CYCLES = 7
"""Few, and one at a time: whole stacks of allocations make a server ten times slower."""
_CAME_BACK = 0.2
_STAYED = 0.6
_MOST_EXTENSIONS = 1
_MOST_FAILED = 0.1
_REALTIME = "realtime"


class Observer(Protocol):
    """Is told what a run does, as it does it; shows it to a person, or not."""

    def phase(self, name: str) -> None:
        """A new part of the run begins: in a few words, what it is."""

    def calls(self, done: int, total: int) -> None:
        """So many of the phase's calls have been made."""

    def sample(self, sample: Sample) -> None:
        """A sample that counts has been taken."""


class Silent:
    """An observer that shows nothing."""

    def phase(self, name: str) -> None:
        """Ignore it."""

    def calls(self, done: int, total: int) -> None:
        """Ignore it."""

    def sample(self, sample: Sample) -> None:
        """Ignore it."""


async def soak(
    settings: SoakSettings, observer: Observer | None = None, *, scenario: Scenario | None = None
) -> RunResult:
    """Soak one server and say what leaks; `scenario` is played instead of the one that the settings name.

    Raises UsageError for settings that cannot work, RunError when the run cannot be carried through; either way
    nothing that was started is left running, and the journal holds what was seen.
    """
    scenario = scenario or settings.load_scenario()
    settings = settings.with_port(free_port())
    host, port = settings.address
    if await is_listening(host, port):
        raise UsageError(f"url: something already listens on {host}:{port}; stop it, or use {{port}} in sut and url")
    command = parse_command(settings.sut)
    name = settings.name or Path(command[0]).name
    directory = new_run_directory(Path(settings.runs), f"{name}-{scenario.name}")
    ledger = Ledger()
    with Journal(directory) as journal:
        told = asdict(settings) | {"env": sorted(settings.env)}  # names alone: the values may be secret
        journal.write("run", settings=told, scenario=scenario.to_json(), python=sys.version)
        faults = FaultPlan(settings.fault_rules())
        fake_openai = OpenAIServer(scenario.model_script, ledger, speed=settings.speed, faults=faults)
        async with fake_openai, Agents() as agents:
            environment = _environment(settings, fake_openai)
            environment = agents.environment(environment, tuple(Path(path) for path in settings.code))
            async with Sut(command, environment, directory / "sut.log") as sut:
                run = _Run(
                    settings,
                    scenario,
                    name,
                    directory,
                    sut,
                    agents,
                    ledger,
                    journal,
                    observer or Silent(),
                    faults,
                )
                result = await run.carry_out()
        journal.write("result", **result.to_json())
    return result


def _environment(settings: SoakSettings, fake_openai: OpenAIServer) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        **model_environment(fake_openai),
        "PORT": str(settings.address[1]),
        **settings.env,
    }


def free_port() -> int:
    """A TCP port that nothing uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class _Run:
    """The steps of one run, over the parts that `soak` has started."""

    def __init__(
        self,
        settings: SoakSettings,
        scenario: Scenario,
        name: str,
        directory: Path,
        sut: Sut,
        agents: Agents,
        ledger: Ledger,
        journal: Journal,
        observer: Observer,
        faults: FaultPlan,
    ) -> None:
        self._settings = settings
        self._scenario = scenario
        self._name = name
        self._directory = directory
        self._sut = sut
        self._agents = agents
        self._ledger = ledger
        self._journal = journal
        self._observer = observer
        self._faults = faults
        self._pace = Pace(settings.speed)
        self._telephone = Telephone(ledger, pace=self._pace, faults=faults)
        self._at_a_time = max(1, min(settings.concurrency, settings.cycles // verdict.MIN_SAMPLES))
        self._made = 0
        self._failures: Counter[str] = Counter()
        self._problems: Counter[str] = Counter()
        self._samples: list[Sample] = []
        self._began = time.monotonic()

    async def carry_out(self) -> RunResult:
        settings = self._settings
        self._observer.phase("starting the server")
        await self._sut.until_listening(*settings.address, settings.start_timeout)
        await self._agents.begin()
        governor = asyncio.create_task(govern(self._pace, self._sut, most=settings.speed))
        try:
            return await self._soak()
        finally:
            governor.cancel()

    async def _soak(self) -> RunResult:
        settings = self._settings
        self._observer.phase("warm-up")
        await self._calls(settings.warmup, self._at_a_time)
        self._observer.phase("calls")
        counted_from = self._made
        await self._sample_after(0)
        await self._measure(settings.cycles, counted_from)
        growths = verdict.judge(self._samples)
        for _ in range(_MOST_EXTENSIONS):
            if all(g.state != "inconclusive" for g in growths) or len(self._samples) < verdict.MIN_SAMPLES:
                break
            self._observer.phase("more calls, to be sure")
            await self._measure(settings.cycles, counted_from)
            growths = verdict.judge(self._samples)
        growths = await self._settle(growths)
        growths, found = await self._watch(growths)
        return self._result(growths, found)

    async def _measure(self, cycles: int, counted_from: int) -> None:
        """Make at least `cycles` calls in batches, with a sample after each.

        All batches are of one size: after many calls at a time a server keeps more, such as pooled connections.
        """
        at_a_time = self._at_a_time
        async for _ in self._batches(at_a_time * math.ceil(cycles / at_a_time), at_a_time):
            await self._sample_after(self._made - counted_from)

    async def _sample_after(self, cycles: int) -> None:
        values = await self._quiet_values()
        sample = Sample(cycles, round(time.monotonic() - self._began, 3), values)
        self._samples.append(sample)
        self._journal.write("sample", cycles=cycles, values=values)
        self._observer.sample(sample)

    async def _quiet_values(self) -> dict[Resource, float]:
        """The counters once they are still: no request unanswered, and a moment later nothing has moved."""
        deadline = time.monotonic() + _STILL_LIMIT_S
        while True:
            while self._ledger.still_open("chat.completions") and time.monotonic() < deadline:
                await self._alive(asyncio.sleep(_STILL_PAUSE_S))
            values = await self._alive(self._read())
            await asyncio.sleep(_STILL_PAUSE_S)
            later = await self._alive(self._peek())
            if all(values.get(name) == value for name, value in later.items()) or time.monotonic() > deadline:
                return values

    async def _read(self) -> dict[Resource, float]:
        counted = await self._agents.sample()  # first: its collection may close what garbage held open
        return {**counted, **self._seen_from_outside()}

    async def _peek(self) -> dict[Resource, float]:
        counted = await self._agents.peek()
        seen = {name: value for name, value in self._seen_from_outside().items() if name not in BYTES}
        return {**counted, **seen}

    def _seen_from_outside(self) -> dict[Resource, float]:
        return {**process.read(self._sut), "connections": float(len(self._ledger.still_open(_REALTIME)))}

    # -- calls

    async def _calls(self, cycles: int, at_a_time: int | None = None) -> None:
        """Make `cycles` calls, as many at a time as the settings say, or as told."""
        async for _ in self._batches(cycles, at_a_time or self._settings.concurrency):
            pass
        if cycles:
            await self._quiet_values()

    async def _batches(self, cycles: int, at_a_time: int) -> AsyncIterator[None]:
        """Make `cycles` calls, `at_a_time` of them together; yields after each such batch."""
        done = 0
        while done < cycles:
            size = min(at_a_time, cycles - done)
            await self._batch(size)
            done += size
            self._observer.calls(done, cycles)
            yield

    async def _batch(self, size: int) -> None:
        """`size` calls at a time. Raises RunError when the SUT ended, or when none of them went as scripted and no
        fault was the reason."""
        failed_before = self._failures.total()
        made_before = self._made
        await self._alive(asyncio.gather(*(self._call() for _ in range(size))))
        if self._faults.has_struck:
            return
        if self._failures.total() - failed_before == size and self._made == made_before + size:
            await self._alive(asyncio.sleep(_LAST_GASP_S))  # did they fail because the server has just died?
            reasons = ", ".join(f"{reason} ({number} calls)" for reason, number in self._failures.most_common(3))
            raise RunError(f"no call of {size} went as scripted: {reasons}{self._advice()}")

    async def _call(self) -> None:
        try:
            async with asyncio.timeout(_CALL_LIMIT_S):
                made = await self._telephone.call(self._settings.url, self._scenario)
            failure, problems = made.failure, made.problems
        except TimeoutError:
            failure, problems = f"not over after {_CALL_LIMIT_S:g} s", ()
        self._made += 1
        self._problems.update(problems[:1])
        if failure:
            self._failures[failure] += 1

    def _advice(self) -> str:
        if self._ledger.seen(_REALTIME) or self._ledger.seen("unknown"):
            return ""
        return (
            "; the server never opened a Realtime session with the fake: does it take its address from "
            "OPENAI_BASE_URL or OPENAI_REALTIME_URL?"
        )

    async def _alive(self, work: Coroutine[object, object, T] | asyncio.Future[T]) -> T:
        """The result of `work`, unless the SUT ends first. Raises RunError then."""
        task = asyncio.ensure_future(work)
        ended = asyncio.ensure_future(self._sut.ended())
        try:
            await asyncio.wait({task, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not self._sut.is_running:
                raise RunError(f"the SUT ended after {self._made} calls: it {self._sut.how_it_ended()}")
            return await task
        finally:
            for pending in (task, ended):
                pending.cancel()
            await asyncio.gather(task, ended, return_exceptions=True)

    # -- judging

    async def _settle(self, growths: Sequence[Growth]) -> tuple[Growth, ...]:
        """Give suspected growth time to go away by itself: what does is bounded by time, and no leak."""
        suspects = {g.resource: g for g in growths if g.state == "leaking"}
        if not suspects or not self._settings.settle:
            return tuple(growths)
        self._observer.phase("waiting if it goes away by itself")
        first = self._samples[0].values
        began = time.monotonic()
        came_back: dict[Resource, float] = {}
        while len(came_back) < len(suspects) and time.monotonic() - began < self._settings.settle:
            await asyncio.sleep(_SETTLE_POLL_S)
            values = await self._alive(self._read())
            for resource, growth in suspects.items():
                grown = growth.per_cycle * growth.cycles
                if values.get(resource, math.inf) <= first[resource] + _CAME_BACK * grown:
                    came_back.setdefault(resource, time.monotonic() - began)
                else:
                    came_back.pop(resource, None)
        if came_back:
            # What a server keeps while it is busy (pooled connections) went too, which may hide what stays.
            await self._calls(self._at_a_time, self._at_a_time)
            values = await self._quiet_values()
            for resource in tuple(came_back):
                growth = suspects[resource]
                if values.get(resource, math.inf) > first[resource] + _STAYED * growth.per_cycle * growth.cycles:
                    del came_back[resource]
        self._journal.write("settled", came_back=came_back)
        return tuple(
            replace(
                g, state="clean", note=f"grew while calls were made, and was gone {came_back[g.resource]:.1f} s after"
            )
            if g.resource in came_back
            else g
            for g in growths
        )

    async def _watch(self, growths: Sequence[Growth]) -> tuple[tuple[Growth, ...], tuple[Finding, ...]]:
        """For what leaks, make a few more calls while the agents note where things are made."""
        leaking = [g for g in growths if g.state == "leaking"]
        if not leaking:
            return tuple(growths), ()
        survey = deep = None
        if self._agents.present:
            rarest = min((g.per_cycle for g in leaking if g.resource not in MEMORY), default=1.0)
            cycles = min(_MOST_WATCH_CYCLES, max(_WATCH_CYCLES, math.ceil(4 / rarest)))
            self._observer.phase("finding the lines")
            await self._agents.watch()
            async for _ in self._batches(cycles, self._at_a_time):
                await self._quiet_values()  # as between the calls that were measured: it may matter to what leaks
            survey = seen = await self._alive(self._agents.survey(cycles))
            growths = [
                replace(g, state="clean", note="grew by compiled code, not by objects")
                if g.resource == "heap" and g.state == "leaking" and findings.is_compiled_code(g, seen)
                else g
                for g in growths
            ]
            if findings.needs_deep_watch(growths, survey):
                self._observer.phase("finding the lines that allocate")
                await self._agents.watch(deep=True)
                await self._calls(_DEEP_WATCH_CYCLES, at_a_time=1)
                deep = await self._alive(self._agents.survey(_DEEP_WATCH_CYCLES))
        found = findings.build(growths, survey, Path.cwd(), deep)
        self._journal.write("watched", findings=[asdict(finding) for finding in found])
        return tuple(growths), found

    def _result(self, growths: Sequence[Growth], found: tuple[Finding, ...]) -> RunResult:
        calls = CallStats(self._made, self._made - self._failures.total(), dict(self._failures))
        notes = list(self._agents.problems)
        notes += [f"a message that Twilio would refuse: {text} ({n} calls)" for text, n in self._problems.items()]
        notes += [f"the fault {rule} never struck" for rule, times in self._faults.struck if not times]
        state: State = "clean"
        if found:
            state = "leaking"
        elif any(g.state == "inconclusive" for g in growths):
            state = "inconclusive"
        elif calls.failed > _MOST_FAILED * calls.made and not self._faults.has_struck:
            state = "inconclusive"
            notes.append("too many calls did not go as scripted for a clean verdict")
        unmeasured = {}
        for resource in self._agents.counted or COUNTED["Python"]:
            if all(g.resource != resource for g in growths):
                unmeasured[resource] = (
                    "its agent stepped aside"
                    if self._agents.problems
                    else "no agent in the server, which is neither Python nor Node"
                )
        return RunResult(
            sut=self._name,
            scenario=self._scenario.name,
            state=state,
            calls=calls,
            seconds=round(time.monotonic() - self._began, 3),
            growths=tuple(growths),
            findings=found,
            samples=tuple(self._samples),
            unmeasured=unmeasured,
            notes=tuple(notes),
            directory=str(self._directory),
        )
