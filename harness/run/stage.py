"""All that a run needs, started and stopped together: the fakes, the server under test, the agents, the journal."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from leakline.fakes.faults import FaultPlan
from leakline.fakes.ledger import Ledger, unix_seconds
from leakline.fakes.openai import OpenAIServer
from leakline.fakes.twilio import Pace, TwilioRest
from leakline.harness.data.errors import RunError, ServerEndedError, UsageError
from leakline.harness.data.model import Allocation, CallStats, Finding, Growth, Level, Resource, RunResult, Sample
from leakline.harness.data.words import truncate
from leakline.harness.drive.batches import Calls
from leakline.harness.drive.telephone import API_KEY, Telephone, model_environment, on_stream
from leakline.harness.judge.budgets import Policy
from leakline.harness.judge.outcome import Evidence, decide
from leakline.harness.measure import process
from leakline.harness.measure.agents import COUNTED, Agents
from leakline.harness.measure.counters import LIMIT_S, LONG_LIMIT_S, Counters
from leakline.harness.measure.files import TempFolder
from leakline.harness.measure.gauges import Gauges
from leakline.harness.measure.gauges import parse as parse_gauges
from leakline.harness.measure.inject import inject_agent
from leakline.harness.run import record
from leakline.harness.run.journal import Journal, new_run_directory
from leakline.harness.run.mishap import traceback_in
from leakline.harness.run.observer import Observer
from leakline.harness.run.settings import SoakSettings
from leakline.harness.server.attached import Attached
from leakline.harness.server.certificates import OPENAI, TWILIO, CertificateAuthority
from leakline.harness.server.ports import free_port, is_listening
from leakline.harness.server.process import STOP_S, Sut, parse_command
from leakline.harness.server.reaper import Reaper
from leakline.scenarios.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Measured:
    """What a soak or a load run has found out of its server: all that the outcome and the reports are made of."""

    calls: CallStats
    seconds: float
    """How long the run took."""
    samples: tuple[Sample, ...]
    growths: tuple[Growth, ...]
    findings: tuple[Finding, ...]
    """Of what leaks, permitted or not."""
    levels: tuple[Level, ...] = ()
    unmeasured: Mapping[Resource, str] = field(default_factory=dict)
    """{resource: why it could not be measured}, of what no agent counts."""
    notes: tuple[str, ...] = ()
    """What a person should know that no other field says."""
    doubts: tuple[str, ...] = ()
    """What was not seen of the server and should have been; agents that failed are added to it."""
    allocations: tuple[Allocation, ...] = ()
    """Memory that stays, by the stack that allocated it."""
    artifacts: tuple[str, ...] = ()
    """Files that were written into the run's folder next to the report."""


@dataclass
class Stage:
    """The parts of one run."""

    settings: SoakSettings
    """With `{port}` filled in."""
    scenario: Scenario
    name: str
    """What the server is called."""
    directory: Path
    sut: Sut
    agents: Agents
    ledger: Ledger
    journal: Journal
    observer: Observer
    faults: FaultPlan
    calls: Calls
    counters: Counters
    policy: Policy
    """What the run's outcome may leave out."""
    circumstances: dict[str, Any]
    """Of the run: versions, machine, command."""
    began: float
    """Unix seconds."""
    restart: Callable[[], Awaitable[None]]
    """Stops the server as a deployment does, starts it again, and waits until it is ready."""
    notes: list[str] = field(default_factory=list)

    async def until_ready(self) -> None:
        """Wait until the server listens, and have the agents begin. Raises RunError."""
        self.observer.phase("starting the server")
        await self.sut.until_listening(*self.settings.address, self.settings.start_timeout)
        await self.agents.begin()

    async def make(self, cycles: int, at_a_time: int) -> None:
        """Make `cycles` calls that are not counted, and wait until all is quiet."""
        async for _ in self.calls.batches(cycles, at_a_time):
            pass
        if cycles:
            await self.counters.quiet(LONG_LIMIT_S if self.calls.is_patient else LIMIT_S)

    def _unmeasured(self, growths: Sequence[Growth]) -> dict[Resource, str]:
        """{resource: why it was not measured}, of what an agent counts."""
        why = "no agent in the server"
        if self.agents.present:
            why = process.NOT_REPORTED
        if self.agents.detached:
            why = "its agent failed and was detached"
        if self.scenario.restart_after_s is not None:
            why = "of what outlives the server alone"
        counted = self.agents.counted or COUNTED["Python"]
        return {name: why for name in counted if all(growth.resource != name for growth in growths)}

    async def finish(self, measured: Measured) -> RunResult:
        """Stop the server, and say what all that was measured comes to; the journal gets it too."""
        today = datetime.now().astimezone().date()
        doubts = (*measured.doubts, *truncate(self.agents.detached))
        evidence = Evidence(
            measured.growths,
            measured.calls,
            measured.findings,
            measured.levels,
            doubts,
            self.faults.has_struck,
            self.scenario.name,
        )
        outcome = decide(evidence, self.policy, today)
        seen = record.seen(self.ledger, self.began)
        result = RunResult(
            sut=self.name,
            scenario=self.scenario.name,
            state=outcome.state,
            calls=measured.calls,
            seconds=measured.seconds,
            growths=measured.growths,
            findings=outcome.findings,
            samples=measured.samples,
            levels=measured.levels,
            allowed=outcome.allowed,
            unmeasured={**self._unmeasured(measured.growths), **measured.unmeasured},
            notes=(
                *self.notes,
                *truncate(self.agents.problems),
                *measured.notes,
                *outcome.notes,
                *await self._stop(),
            ),
            doubts=doubts,
            directory=str(self.directory),
            allocations=measured.allocations,
            beside=measured.artifacts,
            seen=seen,
            faults={str(rule): times for rule, times in self.faults.struck},
            about=self.circumstances,
        )
        self.journal.write("result", **result.to_json())
        return result

    async def _stop(self) -> list[str]:
        self.observer.phase("stopping the server")
        before = self.sut.outlived
        await self.sut.stop()
        left = self.sut.outlived - before
        note = f"{left} of the server's processes did not end within {STOP_S:g} s of SIGTERM, and had to be killed"
        return [note] if left else []


@asynccontextmanager
async def on_stage(
    settings: SoakSettings,
    observer: Observer,
    *,
    scenario: Scenario | None = None,
    baseline: RunResult | None = None,
) -> AsyncIterator[Stage]:
    """Start all parts for the length of a `with`; `scenario` is played instead of the one that the settings name.

    What leaked in the run `baseline` as much may leak. Raises UsageError for settings that cannot work, RunError when
    the server ends, InternalError for what nobody expected, whose traceback is then in the run's folder.
    """
    scenario = scenario or settings.load_scenario()
    if settings.pid and scenario.restart_after_s is not None:
        raise UsageError(
            f"scenario: {scenario.name} restarts the server; expected --sut, which says how it is started"
        )
    given, settings = settings, settings.with_port(free_port())
    await _check_address(settings)
    command = parse_command(settings.sut) if not settings.pid else ()
    attached = Attached(settings.pid) if settings.pid else None
    name = settings.name or (attached.name if attached is not None else Path(command[0]).name)
    directory = new_run_directory(Path(settings.runs), f"{name}-{scenario.name}")
    code = tuple(Path(path).resolve() for path in settings.code)
    ledger = Ledger()
    faults = FaultPlan((*settings.fault_rules(), *scenario.fault_rules))
    policy = replace(settings.policy(), baseline=baseline.leaks if baseline is not None else None)
    async with AsyncExitStack() as stack:
        stack.enter_context(traceback_in(directory))
        reaper = stack.enter_context(Reaper())
        journal = stack.enter_context(Journal(directory))
        began, circumstances = unix_seconds(), record.about(given)
        recorded = asdict(given) | {"env": sorted(given.env)}  # names alone: the values may be secret
        journal.write("run", settings=recorded, scenario=scenario.to_json(), about=circumstances)
        environment = await _start_fakes(stack, settings, scenario, ledger, faults)
        agents = await stack.enter_async_context(Agents())
        environment = agents.environment(environment, code)
        gauges = await stack.enter_async_context(Gauges(parse_gauges(settings.gauges)))
        temp = stack.enter_context(TempFolder())
        environment = {**environment, "TMPDIR": str(temp.path), **settings.env}
        sut = await stack.enter_async_context(attached or Sut(command, environment, directory / "sut.log", reaper))
        problem = await inject_agent(attached, agents, code) if attached is not None else ""

        async def restart() -> None:
            await sut.restart()
            await sut.until_listening(*settings.address, settings.start_timeout)
            await agents.begin()

        calls = Calls(settings.url, settings.speed, scenario, sut, ledger, faults, observer, restart)
        stage = Stage(
            settings,
            scenario,
            name,
            directory,
            sut,
            agents,
            ledger,
            journal,
            observer,
            faults,
            calls,
            Counters(sut, agents, ledger, gauges, temp, restarts=scenario.restart_after_s is not None),
            policy,
            circumstances,
            began,
            restart,
            [problem] if problem else [],
        )
        try:
            yield stage
        except ServerEndedError as error:
            raise RunError(f"the SUT ended after {calls.made} calls: it {error.how}") from None


async def _check_address(settings: SoakSettings) -> None:
    host, port = settings.address
    listening = await is_listening(host, port)
    if listening and not settings.pid:
        raise UsageError(f"url: something already listens on {host}:{port}; stop it, or use {{port}} in sut and url")
    if not listening and settings.pid:
        raise UsageError(
            f"url: expected the server that runs as process {settings.pid}, found nothing on {host}:{port}"
        )


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
    authority = stack.enter_context(CertificateAuthority(settings.intercept))
    addresses = {}
    tls = authority.context(OPENAI) if OPENAI in settings.intercept else None
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
            lambda stream: on_stream(telephone.caller(scenario), stream),
            ledger,
            pace=Pace(settings.speed),
            faults=faults,
            tls=authority.context(TWILIO),
        )
        await stack.enter_async_context(twilio)
        given |= {"TWILIO_ACCOUNT_SID": twilio.parties.account_sid, "TWILIO_AUTH_TOKEN": twilio.parties.auth_token}
        addresses[TWILIO] = twilio.address
    return {**authority.environment(given, addresses), **settings.env}
