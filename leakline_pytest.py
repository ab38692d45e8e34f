"""leakline's pytest plugin: `soak` runs calls against a server and fails the test with what leaks.

A module of its own, with a name that nobody else has: the rooms (`harness`, ...) have common names, and are
imported only when a soak test runs, so that a project with a `harness/` of its own can still use pytest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from harness.model import RunResult
    from scenarios import Scenario

_MARK = "soak"


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line(
        "markers",
        f"{_MARK}(**settings): settings of the `soak` fixture, such as cycles=200, sut='CMD', url='ws://...'",
    )


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
