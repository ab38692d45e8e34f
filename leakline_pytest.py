"""leakline's pytest plugin: `soak` runs calls against a server and fails the test with what leaks.

A module of its own, with a name that nobody else has: the rooms (`harness`, ...) have common names, and are
imported only when a soak test runs, so that a project with a `harness/` of its own can still use pytest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from fakes.background import Background
    from fakes.ledger import Ledger
    from harness.fakes import Fakes, Placed
    from harness.in_process import NoGrowth
    from harness.model import RunResult
    from scenarios import Scenario

_MARK = "soak"


def no_growth(cycles: int = 96, *, warmup: int = 16) -> NoGrowth:
    """For any coroutine, in the test's own process: fails when what the loop's body leaves behind grows.

    `async with no_growth(cycles=200) as each: async for _ in each: await work()`
    """
    from harness.in_process import NoGrowth

    return NoGrowth(cycles, warmup=warmup)


_FAKES_MARK = "fakes"


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line(
        "markers",
        f"{_MARK}(**settings): settings of the `soak` fixture, such as cycles=200, sut='CMD', url='ws://...'",
    )
    config.addinivalue_line(
        "markers",
        f"{_FAKES_MARK}(scenario='question', speed=20.0, faults=()): what a test's fakes say, how they fail; "
        "faults are texts such as 'status(code=503)@chat.completions x1'",
    )


@pytest.fixture
def leakline_fakes(request: pytest.FixtureRequest) -> Iterator[Background[Fakes]]:
    """Both fakes, beside the test in a thread of their own; `fake_openai` and `fake_twilio` are its halves."""
    from fakes.background import Background
    from fakes.faults import parse_rule
    from harness.fakes import running
    from scenarios import Scenario, load

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

    def call(self, url: str, scenario: Scenario | str = "question", *, digits: tuple[str, ...] = ()) -> Placed:
        """Call the server at `url` (its voice webhook, or its stream) and stay on the line to the end."""
        from scenarios import load

        script = load(scenario) if isinstance(scenario, str) else scenario
        return self._fakes.run(self._fakes.value.telephone.call(url, script, digits=digits))


@pytest.fixture
def soak(request: pytest.FixtureRequest) -> Callable[..., RunResult]:
    """A function `soak(scenario, **settings)` that soaks a server and fails the test when it leaks.

    `scenario` is a `Scenario` or the name of one. Settings are those of `leakline soak`; the call's come before the
    marker's, and the marker's before `[tool.leakline]` in the root directory's `pyproject.toml`. Returns the result
    of a clean run.
    """
    marks = [mark.kwargs for mark in request.node.iter_markers(_MARK)]
    root = request.config.rootpath

    def run(scenario: Scenario | str | None = None, **settings: Any) -> RunResult:
        import asyncio

        try:
            from harness.errors import LeaklineError
            from harness.settings import make
            from harness.soak import soak as soak_server
            from scenarios import Scenario
        except ImportError as error:
            pytest.fail(
                f"leakline's own packages could not be imported ({error}): does a 'harness' or 'scenarios' "
                "of this project stand in their way?",
                pytrace=False,
            )
        given: dict[str, Any] = {}
        for mark in reversed(marks):
            given |= mark
        given |= settings
        script = scenario if isinstance(scenario, Scenario) else None
        if isinstance(scenario, str):
            given["scenario"] = scenario
        try:
            result = asyncio.run(soak_server(make(given, root), scenario=script))
        except LeaklineError as error:
            pytest.fail(f"leakline: {error}", pytrace=False)
        if result.state != "clean":
            pytest.fail(f"leakline: {result.state}\n{result.in_full()}", pytrace=False)
        return result

    return run
