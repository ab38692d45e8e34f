"""leakline's pytest plugin: `soak` runs calls against a server and fails the test with what leaks.

A plugin is imported in every pytest run of its user, so all else of leakline is imported when a test asks for it.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from leakline.fakes.background import Background
    from leakline.fakes.ledger import Ledger
    from leakline.harness.data.model import RunResult
    from leakline.harness.drive.telephone import CallResult, Fakes
    from leakline.harness.run.settings import SoakSettings
    from leakline.harness.server.process import Sut
    from leakline.scenarios import Scenario

R = TypeVar("R")

_MARK = "soak"
_PROPERTY = "leakline"
_REPORTS = ("html", "json")


_FAKES_MARK = "fakes"


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--soak-cycles` and `--soak-report`."""
    group = parser.getgroup("leakline")
    group.addoption("--soak-cycles", type=int, metavar="N", help="calls of every soak, over what its test says")
    group.addoption("--soak-report", metavar="DIR", help="write a report of every soak into this folder")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line(
        "markers",
        f"{_MARK}(**settings): settings of the `soak` and `sut` fixtures, such as scenario='two_burgers', "
        "cycles=200, budget={'heap': '2 KiB/call'}",
    )
    config.addinivalue_line(
        "markers",
        f"{_FAKES_MARK}(scenario='question', speed=20.0, faults=()): what a test's fakes say, how they fail; "
        "faults are texts such as 'status(code=503)@chat.completions x1'",
    )


@pytest.fixture
def leakline_fakes(request: pytest.FixtureRequest) -> Iterator[Background[Fakes]]:
    """Both fakes, in a thread of their own while the test runs; `fake_openai` and `fake_twilio` are its halves."""
    from leakline.fakes.background import Background
    from leakline.fakes.faults import parse_rule
    from leakline.harness.drive.telephone import running
    from leakline.scenarios import Scenario, load

    mark = request.node.get_closest_marker(_FAKES_MARK)
    given = dict(mark.kwargs) if mark is not None else {}
    scenario = given.pop("scenario", "question")
    script = scenario if isinstance(scenario, Scenario) else load(scenario)
    rules = [parse_rule(rule) if isinstance(rule, str) else rule for rule in given.pop("faults", ())]
    with Background(lambda: running(script, faults=rules, **{"speed": 20.0, **given})) as fakes:
        yield fakes


@pytest.fixture
def fake_openai(leakline_fakes: Background[Fakes]) -> FakeOpenAI:
    """A fake OpenAI: its `environment`, `base_url`, `realtime_url`, and `ledger()`."""
    return FakeOpenAI(leakline_fakes)


@pytest.fixture
def fake_twilio(leakline_fakes: Background[Fakes]) -> FakeTwilio:
    """A fake Twilio: `call(url, scenario)` calls a server and tells how it went; `api_url` is its REST API."""
    return FakeTwilio(leakline_fakes)


class FakeOpenAI:
    """The fake OpenAI of a test."""

    def __init__(self, fakes: Background[Fakes]) -> None:
        self._fakes = fakes
        self.environment = fakes.value.environment
        self.base_url = fakes.value.openai.base_url
        self.realtime_url = fakes.value.openai.realtime_url

    def ledger(self) -> Ledger:
        """A copy of what both fakes have seen so far."""

        async def copy() -> Ledger:
            return deepcopy(self._fakes.value.ledger)

        return self._fakes.run(copy())


class FakeTwilio:
    """The fake Twilio of a test."""

    def __init__(self, fakes: Background[Fakes]) -> None:
        self._fakes = fakes
        self.api_url = fakes.value.twilio.url

    def call(self, url: str, scenario: Scenario | str = "question", *, digits: tuple[str, ...] = ()) -> CallResult:
        """Call the server at `url` (its voice webhook, or its stream) and stay on the line to the end."""
        from leakline.scenarios import load

        script = load(scenario) if isinstance(scenario, str) else scenario
        return self._fakes.run(self._fakes.value.telephone.call(url, script, digits=digits))


@pytest.fixture
def sut(request: pytest.FixtureRequest, leakline_fakes: Background[Fakes], tmp_path: Path) -> Iterator[RunningSut]:
    """The project's server, started for one test together with both fakes: `call()`, `url`, `pid`, `printed()`.

    It is started as `[tool.leakline]` and the `soak` marker say.
    """
    from leakline.fakes.background import Background
    from leakline.harness.data.errors import LeaklineError
    from leakline.harness.server.ports import free_port
    from leakline.harness.server.process import Sut, parse_command

    settings, _ = _settings(request, None, {})
    settings = settings.with_port(free_port())
    environment = {**os.environ, **leakline_fakes.value.environment, **settings.env}

    @asynccontextmanager
    async def started() -> AsyncIterator[Sut]:
        async with Sut(parse_command(settings.sut), environment, tmp_path / "sut.log") as server:
            await server.until_listening(*settings.address, settings.start_timeout)
            yield server

    try:
        running = Background(started).__enter__()
    except LeaklineError as error:
        raise pytest.fail.Exception(f"leakline: {error}", pytrace=False) from None
    try:
        yield RunningSut(settings.url, running.value, leakline_fakes)
    finally:
        running.__exit__(None, None, None)


class RunningSut:
    """A server that runs for one test."""

    def __init__(self, url: str, server: Sut, fakes: Background[Fakes]) -> None:
        self.url = url
        self.pid = server.pid
        self._server, self._fakes = server, fakes

    def call(self, scenario: Scenario | str = "question", *, digits: tuple[str, ...] = ()) -> CallResult:
        """Call it and stay on the line to the end."""
        return FakeTwilio(self._fakes).call(self.url, scenario, digits=digits)

    def printed(self) -> str:
        """What it has printed so far."""
        return self._server.printed()


@pytest.fixture
def soak(request: pytest.FixtureRequest) -> Callable[..., RunResult]:
    """A function `soak(scenario, **settings)` that soaks a server and fails the test when it leaks.

    `scenario` is a `Scenario` or the name of one. Settings are those of `leakline soak`; the call's come before the
    marker's, and the marker's before `[tool.leakline]` in the root directory's `pyproject.toml`; `budget` is
    short for `budgets`. Returns the result of a clean run.
    """
    config = request.config

    def run(scenario: Scenario | str | None = None, **given: Any) -> RunResult:
        settings, script = _settings(request, scenario, given)
        from leakline.harness.data.errors import LeaklineError
        from leakline.harness.run.soak import soak as soak_server
        from leakline.reports.text import in_full, in_short

        try:
            result = _to_the_end(soak_server(settings, scenario=script))
        except LeaklineError as error:
            raise pytest.fail.Exception(f"leakline: {error}", pytrace=False) from None
        request.node.user_properties.append((_PROPERTY, in_short(result)))
        folder = config.getoption("soak_report")
        if folder:
            _write_reports(Path(folder), request.node.nodeid, result)
        if result.state != "clean":
            pytest.fail(f"leakline: {result.state}\n{in_full(result)}", pytrace=False)
        return result

    return run


def _settings(
    request: pytest.FixtureRequest, scenario: Scenario | str | None, given: Mapping[str, Any]
) -> tuple[SoakSettings, Scenario | None]:
    """What a test's call, its markers, the options and the project's files say together; wrong ones fail the test."""
    from leakline.harness.data.errors import UsageError
    from leakline.harness.run.settings import SoakSettings, make
    from leakline.scenarios import Scenario

    merged: dict[str, Any] = {}
    for mark in reversed([mark.kwargs for mark in request.node.iter_markers(_MARK)]):
        merged |= mark
    merged |= given
    if scenario is not None:
        merged["scenario"] = scenario
    if "budget" in merged:
        merged["budgets"] = merged.pop("budget")
    cycles = request.config.getoption("soak_cycles")
    if cycles is not None:
        merged["cycles"] = cycles
    script = merged["scenario"] if isinstance(merged.get("scenario"), Scenario) else None
    if script is not None:
        del merged["scenario"]
    known = [field.name for field in fields(SoakSettings)]
    wrong = [name for name in merged if name not in known]
    if wrong:
        pytest.fail(f"leakline: {wrong[0]}: no such setting; expected one of {', '.join(known)}", pytrace=False)
    try:
        return make(merged, request.config.rootpath), script
    except UsageError as error:
        raise pytest.fail.Exception(f"leakline: {error}", pytrace=False) from None


def _to_the_end(work: Coroutine[Any, Any, R]) -> R:
    """What `work` returns: in a thread of its own when the test runs in an event loop (pytest-asyncio, anyio)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def _write_reports(folder: Path, test: str, result: RunResult) -> None:
    from leakline.reports.ci import FORMATS

    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^\w.-]+", "_", f"{test}-{result.scenario}").strip("_")
    for suffix in _REPORTS:
        (folder / f"{name}.{suffix}").write_text(FORMATS[suffix](result), encoding="utf-8")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The verdict of every soak, one line each."""
    lines = [
        f"{report.nodeid}: {value}"
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", "") == "call"
        for name, value in getattr(report, "user_properties", ())
        if name == _PROPERTY
    ]
    if lines:
        terminalreporter.section("leakline")
        for line in lines:
            terminalreporter.line(line)
