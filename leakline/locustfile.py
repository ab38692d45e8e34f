"""Load runs in Locust: `locust -f leakline/locustfile.py`, or `leakline load`, which runs it without the web page.

One class of users for each built-in scenario,
and `ScenarioUser` for the one that `--scenario` names, which is who calls when no class is named.
"""

from __future__ import annotations

import sys
from functools import lru_cache, partial
from typing import Any

from locust import events
from locust.env import Environment
from locust.runners import WorkerRunner

from leakline.director import Director, add_options
from leakline.harness.data.errors import LeaklineError, UsageError
from leakline.harness.run.load.user import CallUser, let_calls_end
from leakline.harness.run.mishap import traceback_in
from leakline.harness.run.settings import SoakSettings, scenario_named
from leakline.reports import load_tab
from leakline.scenarios import BUILT_IN, Scenario


@lru_cache(maxsize=1)
def _named(reference: str) -> Scenario:
    return scenario_named(reference)


class ScenarioUser(CallUser):
    """A caller by the scenario that `--scenario` names."""

    @property
    def scenario(self) -> Scenario:  # type: ignore[override]  # a worker hears of it from the master
        """The scenario."""
        options = self.environment.parsed_options
        return _named((options.scenario if options is not None else None) or SoakSettings.scenario)


def _class_for(scenario: Scenario) -> type[CallUser]:
    name = "".join(part.capitalize() for part in scenario.name.split("_")) + "User"
    return type(name, (CallUser,), {"scenario": scenario, "__doc__": scenario.about, "__module__": __name__})


globals().update({each.__name__: each for each in map(_class_for, BUILT_IN.values())})


@events.init_command_line_parser.add_listener
def _options(parser: Any, **_: Any) -> None:
    add_options(parser)


@events.init.add_listener
def _init(environment: Environment, runner: Any, web_ui: Any, **_: Any) -> None:
    if environment.parsed_options is None:
        return
    try:
        with traceback_in():
            _direct(environment, runner, web_ui)
    except LeaklineError as error:
        sys.stderr.write(f"leakline: {error}\n")
        sys.exit(error.exit_code)


def _direct(environment: Environment, runner: Any, web_ui: Any) -> None:
    """Start what leakline adds to Locust, in the process that is no worker. Raises LeaklineError."""
    options = environment.parsed_options
    assert options is not None  # noqa: S101  (asked before)
    let_calls_end(environment)
    if isinstance(runner, WorkerRunner):
        return
    if not options.user_classes:
        environment.user_classes = [ScenarioUser]
    elif not options.host and len(options.user_classes) > 1:
        raise UsageError(
            f"expected one class of users, found {', '.join(options.user_classes)}: the fake model follows one "
            "script; with --host, fakes of your own are called and there may be several"
        )
    if options.host:
        return
    chosen = environment.user_classes[0]
    name = options.scenario if chosen is ScenarioUser else chosen.scenario.name  # type: ignore[attr-defined]
    director = Director(environment, name, partial(load_tab.show, locust_report=options.html_file))
    if web_ui is not None:
        load_tab.install(web_ui, director)
