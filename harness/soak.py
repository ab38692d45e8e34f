"""A soak run, from start to result: start the fakes and the SUT, make calls, sample at quiet points, judge, watch."""

from __future__ import annotations

import asyncio
import math
import os
import socket
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path

from fakes.faults import FaultPlan
from fakes.ledger import Ledger
from fakes.openai import OpenAIServer
from fakes.twilio import Pace, TwilioRest
from harness import budgets, findings, record, verdict
from harness.attach import Attached, bring_agent
from harness.calls import Calls
from harness.checks import Checks
from harness.counters import Counters
from harness.errors import UsageError
from harness.fakes import API_KEY, Telephone, model_environment, on_line
from harness.governor import govern
from harness.intercept import OPENAI, TWILIO, Interception
from harness.journal import Journal, new_run_directory
from harness.model import MEMORY, Allocation, Finding, Growth, Level, Resource, RunResult, Sample, State
from harness.observer import Observer, Silent
from harness.probes.agent import COUNTED, Agents
from harness.probes.descriptors import grown
from harness.probes.files import TempFolder
from harness.probes.gauges import Gauges
from harness.probes.gauges import parse as parse_gauges
from harness.settings import SoakSettings
from harness.sut import Sut, is_listening, parse_command
from scenarios.scenario import Scenario

_SETTLE_POLL_S = 0.25
_WATCH_CYCLES = 13
"""A prime: what is made once in so many calls does not divide it."""
_MOST_WATCH_CYCLES = 101
_DEEP_WATCH_CYCLES = 7
"""Few, and one at a time: whole stacks of allocations make a server ten times slower."""
_SUSPECT_SAMPLES = 64
"""The newest samples that a suspicion is looked for in: a verdict takes the square of their number, at each one."""
_CAME_BACK = 0.2
_STAYED = 0.6
_MOST_FAILED = 0.1


async def soak(
    settings: SoakSettings, observer: Observer | None = None, *, scenario: Scenario | None = None
) -> RunResult:
    """Soak one server and say what leaks; `scenario` is played instead of the one that the settings name.

    Raises UsageError for settings that cannot work, RunError when the run cannot be carried through; either way
    nothing that was started is left running, and the journal holds what was seen.
    """
    scenario = scenario or settings.load_scenario()
    given, settings = settings, settings.with_port(free_port())
    host, port = settings.address
    listening = await is_listening(host, port)
    if listening and not settings.pid:
        raise UsageError(f"url: something already listens on {host}:{port}; stop it, or use {{port}} in sut and url")
    if not listening and settings.pid:
        raise UsageError(
            f"url: expected the server that runs as process {settings.pid}, found nothing on {host}:{port}"
        )
    command = parse_command(settings.sut) if not settings.pid else ()
    attached = Attached(settings.pid) if settings.pid else None
    name = settings.name or (attached.name if attached is not None else Path(command[0]).name)
    directory = new_run_directory(Path(settings.runs), f"{name}-{scenario.name}")
    code = tuple(Path(path).resolve() for path in settings.code)
    ledger = Ledger()
    with Journal(directory) as journal:
        began, circumstances = time.time(), record.about(given)
        told = asdict(settings) | {"env": sorted(settings.env)}  # names alone: the values may be secret
        journal.write("run", settings=told, scenario=scenario.to_json(), about=circumstances)
        faults = FaultPlan((*settings.fault_rules(), *scenario.fault_rules))
        async with AsyncExitStack() as stack:
            environment = await _start_fakes(stack, settings, scenario, ledger, faults)
            agents = await stack.enter_async_context(Agents())
            environment = agents.environment(environment, code)
            gauges = await stack.enter_async_context(Gauges(parse_gauges(settings.gauges)))
            temp = stack.enter_context(TempFolder())
            environment = {**environment, "TMPDIR": str(temp.path), **settings.env}
            async with attached or Sut(command, environment, directory / "sut.log") as sut:
                problem = await bring_agent(attached, agents, code) if attached is not None else ""
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
                    gauges,
                    temp,
                )
                run.note(problem)
                result = budgets.apply(await run.carry_out(), settings.policy(), datetime.now().astimezone().date())
                result = replace(
                    result,
                    about=circumstances,
                    seen=record.seen(ledger, began),
                    faults={str(rule): times for rule, times in faults.struck},
                )
        journal.write("result", **result.to_json())
    return result


async def _start_fakes(
    stack: AsyncExitStack, settings: SoakSettings, scenario: Scenario, ledger: Ledger, faults: FaultPlan
) -> dict[str, str]:
    """Start the fakes for as long as `stack` is open; the server's environment."""
    given = {**os.environ, "PYTHONUNBUFFERED": "1", "PORT": str(settings.address[1])}
    if not settings.intercept:
        openai = OpenAIServer(
            scenario.model_script, ledger, speed=settings.speed, faults=faults, port=settings.openai_port
        )
        await stack.enter_async_context(openai)
        return {**given, **model_environment(openai), **settings.env}
    interception = stack.enter_context(Interception(settings.intercept))
    addresses = {}
    tls = interception.context(OPENAI) if OPENAI in settings.intercept else None
    openai = OpenAIServer(
        scenario.model_script, ledger, speed=settings.speed, faults=faults, tls=tls, port=settings.openai_port
    )
    await stack.enter_async_context(openai)
    if tls is None:
        given |= model_environment(openai)
    else:
        given["OPENAI_API_KEY"] = API_KEY
        addresses[OPENAI] = openai.address
    if TWILIO in settings.intercept:
        telephone = Telephone(ledger, pace=Pace(settings.speed), faults=faults)
        twilio = TwilioRest(
            lambda stream: on_line(telephone.caller(scenario), stream),
            ledger,
            pace=Pace(settings.speed),
            faults=faults,
            tls=interception.context(TWILIO),
        )
        await stack.enter_async_context(twilio)
        given |= {"TWILIO_ACCOUNT_SID": twilio.line.account_sid, "TWILIO_AUTH_TOKEN": twilio.line.auth_token}
        addresses[TWILIO] = twilio.address
    return {**interception.environment(given, addresses), **settings.env}


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
        gauges: Gauges,
        temp: TempFolder,
    ) -> None:
        self._settings = settings
        self._scenario = scenario
        self._name = name
        self._directory = directory
        self._sut = sut
        self._agents = agents
        self._journal = journal
        self._observer = observer
        self._faults = faults
        self._calls = Calls(settings, scenario, sut, ledger, faults, observer)
        self._counters = Counters(sut, agents, ledger, self._calls, gauges, temp)
        self._checks = Checks(scenario, sut, agents, ledger, faults, self._calls, self._counters)
        self._at_a_time = max(1, min(settings.concurrency, settings.cycles // verdict.MIN_SAMPLES))
        self._samples: list[Sample] = []
        self._notes: list[str] = []
        self._suspected = False
        self._beside: tuple[str, ...] = ()
        self._allocations: tuple[Allocation, ...] = ()
        self._first_kinds: Counter[str] = Counter()
        self._began = time.monotonic()

    def note(self, text: str) -> None:
        """Add to the result's notes; an empty text is none."""
        self._notes += [text] if text else []

    async def carry_out(self) -> RunResult:
        settings = self._settings
        self._observer.phase("starting the server")
        await self._sut.until_listening(*settings.address, settings.start_timeout)
        await self._agents.begin()
        governor = asyncio.create_task(govern(self._calls.pace, self._sut, most=settings.speed))
        try:
            return await self._soak()
        finally:
            governor.cancel()

    async def _soak(self) -> RunResult:
        settings = self._settings
        self._observer.phase("warm-up")
        await self._make(settings.warmup)
        self._observer.phase("calls")
        counted_from = self._calls.made
        await self._sample_after(0)
        self._first_kinds = self._counters.kinds()
        await self._measure(settings.cycles, counted_from)
        look = verdict.FIRST_LOOK
        while look < verdict.LAST_LOOK and self._is_unsure(self._judge(look, more_to_come=True)):
            self._observer.phase("more calls, to be sure")
            await self._measure(settings.cycles, counted_from)
            look += 1
        growths = await self._settle(self._judge(max(look, verdict.SECOND_LOOK)))
        self._observer.phase("looking at it idle")
        levels = await self._checks.judge(peak=settings.peak)
        self._journal.write("levels", levels=[asdict(level) for level in levels])
        found = await self._watch(growths)
        return self._result(growths, levels, (*found, *await self._explain(levels)))

    def _judge(self, look: int, *, more_to_come: bool = False) -> tuple[Growth, ...]:
        return verdict.judge(self._samples, self._floors(), look=look, more_to_come=more_to_come)

    def _floors(self) -> dict[Resource, float]:
        return verdict.floors_for(self._agents.languages, self._samples[-1].cycles)

    def _is_unsure(self, growths: Sequence[Growth]) -> bool:
        """Whether more calls would tell more."""
        if len(self._samples) < verdict.MIN_SAMPLES or any(g.state == "leaking" for g in growths):
            return False  # what is certain is enough to fail: the rest goes with it, or is found once that is mended
        return any(g.state == "inconclusive" for g in growths)

    async def _measure(self, cycles: int, counted_from: int) -> None:
        """Make at least `cycles` calls in batches, with a sample after each.

        All batches are of one size: after many calls at a time a server keeps more, such as pooled connections.
        """
        at_a_time = self._at_a_time
        async for _ in self._calls.batches(at_a_time * math.ceil(cycles / at_a_time), at_a_time):
            await self._sample_after(self._calls.made - counted_from)

    async def _sample_after(self, cycles: int) -> None:
        values = await self._counters.quiet()
        sample = Sample(cycles, round(time.monotonic() - self._began, 3), values)
        self._samples.append(sample)
        self._journal.write("sample", cycles=cycles, values=values)
        self._observer.sample(sample)
        if not self._suspected and len(self._samples) >= verdict.MIN_SAMPLES:
            newest = verdict.judge(self._samples[-_SUSPECT_SAMPLES:], self._floors(), look=verdict.FIRST_LOOK)
            suspect = next((growth for growth in newest if growth.state == "leaking"), None)
            if suspect is not None:
                self._suspected = True
                self._observer.suspicion(suspect)

    async def _make(self, cycles: int, at_a_time: int | None = None) -> None:
        """Make `cycles` calls that are not counted, and wait until all is quiet."""
        async for _ in self._calls.batches(cycles, at_a_time or self._at_a_time):
            pass
        if cycles:
            await self._counters.quiet()

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
            values = await self._counters.read()
            for resource, growth in suspects.items():
                grown = growth.per_cycle * growth.cycles
                if values.get(resource, math.inf) <= first[resource] + _CAME_BACK * grown:
                    came_back.setdefault(resource, time.monotonic() - began)
                else:
                    came_back.pop(resource, None)
        if came_back:
            # What a server keeps while it is busy (pooled connections) went too, which may hide what stays.
            await self._make(self._at_a_time)
            values = await self._counters.quiet()
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

    async def _watch(self, growths: Sequence[Growth]) -> tuple[Finding, ...]:
        """For what leaks, make a few more calls while the agents note where things are made."""
        leaking = [g for g in growths if g.state == "leaking"]
        if not leaking:
            return ()
        survey = deep = None
        more = grown(self._first_kinds, self._counters.kinds(), self._samples[-1].cycles)
        if self._agents.present:
            rarest = min((g.per_cycle for g in leaking if g.resource not in MEMORY), default=1.0)
            cycles = min(_MOST_WATCH_CYCLES, max(_WATCH_CYCLES, math.ceil(4 / rarest)))
            self._observer.phase("finding the lines")
            await self._agents.watch()
            async for _ in self._calls.batches(cycles, self._at_a_time):
                await self._counters.quiet()  # as between the calls that were measured: it may matter to what leaks
            survey = await self._calls.alive(self._agents.survey(cycles))
            if findings.needs_deep_watch(growths, survey):
                self._observer.phase("finding the lines that allocate")
                await self._agents.watch(deep=True)
                await self._make(_DEEP_WATCH_CYCLES, at_a_time=1)
                deep = await self._calls.alive(self._agents.survey(_DEEP_WATCH_CYCLES))
                if findings.needs_native_watch(growths, survey, deep) and await self._agents.watch_native():
                    self._observer.phase("finding the lines that allocate in C")
                    await self._make(_DEEP_WATCH_CYCLES, at_a_time=1)
                    native = await self._calls.alive(self._agents.survey(_DEEP_WATCH_CYCLES, of="Python"))
                    self._beside = await record.memray_reports(self._agents.native_traces, self._directory)
                    # memray sees what C code allocates and not Python's small objects: the one that explains more.
                    deep = max(deep, native, key=lambda each: each.allocated_per_cycle)
        found = findings.build(growths, survey, Path.cwd(), deep, more)
        self._allocations = record.allocations(survey, deep)
        self._journal.write("watched", findings=[asdict(finding) for finding in found])
        return found

    async def _explain(self, levels: Sequence[Level]) -> list[Finding]:
        """The findings of levels that are too high."""
        found = []
        for level in levels:
            if level.state == "leaking":
                self._observer.phase(f"finding the lines of {level.resource}")
                found.append(await self._checks.explain(level, Path.cwd()))
        return found

    def _result(self, growths: Sequence[Growth], levels: Sequence[Level], found: tuple[Finding, ...]) -> RunResult:
        calls = self._calls.stats
        notes = [*self._notes, *self._agents.problems]
        notes += [
            f"a message that Twilio would refuse: {text} ({n} calls)" for text, n in self._calls.problems.items()
        ]
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
                    "its agent stepped aside" if self._agents.problems else "no agent in the server"
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
            levels=tuple(levels),
            unmeasured=unmeasured,
            notes=tuple(notes),
            directory=str(self._directory),
            allocations=self._allocations,
            beside=self._beside,
        )
