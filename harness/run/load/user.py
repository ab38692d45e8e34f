"""Callers as Locust's users: each is a thin handle on a call that the engine makes in its own thread."""

from __future__ import annotations

import os
from collections import deque
from typing import Any

import gevent
import gevent.monkey
from gevent.event import AsyncResult
from locust import User, constant, task
from locust.env import Environment

from leakline.harness.run.load.engine import CallOutcome, Engine
from leakline.harness.run.load.measures import LATENESS, Measure, measures
from leakline.scenarios.scenario import Scenario

_LATENESS_EVERY_S = 1.0
_SHARE = 0.99
_STOP_TIMEOUT_S = 30.0
_REDIAL_S = 0.5
"""After a call that failed or was refused: nobody dials again at once."""
_NUMBERS = 1 << 32
"""SIDs of one process: so many calls, and then those of the next."""


class CallError(Exception):
    """A call that did not go as scripted; the text is the reason."""


class Switchboard:
    """The engine of one Locust process, and the way between its thread and Locust's greenlets."""

    def __init__(self, environment: Environment, speed: float) -> None:
        self._environment = environment
        self._speed = speed
        self._back: deque[tuple[AsyncResult[CallOutcome], CallOutcome]] = deque()
        self._watcher: Any = gevent.get_hub().loop.async_()
        self._watcher.start(self._deliver)
        start_thread = gevent.monkey.get_original("_thread", "start_new_thread")
        self._engine = Engine(
            speed=speed,
            start_thread=lambda run: start_thread(run, ()),
            first_number=1 + os.getpid() * _NUMBERS,
        )
        self._engine.__enter__()
        self._reporter = gevent.spawn(self._report_lateness)

    def call(self, url: str, scenario: Scenario) -> None:
        """Make one call and wait for its end; what it took goes to Locust's statistics.

        A greenlet that is killed meanwhile hangs up.
        """
        result: AsyncResult[CallOutcome] = AsyncResult()
        handle = self._engine.place(url, scenario, lambda outcome: self._hand_back(result, outcome))
        try:
            outcome = result.get()
        except BaseException:
            handle.hang_up()
            raise
        failed = False
        for measure in measures(outcome, self._speed) if outcome is not None else ():
            self._fire(scenario.name, measure)
            failed |= bool(measure.failure)
        is_refused = outcome is not None and outcome.result is not None and outcome.result.end.kind == "refused"
        if failed or is_refused:
            gevent.sleep(_REDIAL_S)

    def close(self) -> None:
        """Hang up all calls and end the engine."""
        self._reporter.kill(block=False)
        self._engine.__exit__(None, None, None)

    def _hand_back(self, result: AsyncResult[CallOutcome], outcome: CallOutcome) -> None:
        """In the engine's thread: gevent's objects may be touched in its own alone."""
        self._back.append((result, outcome))
        self._watcher.send()

    def _deliver(self) -> None:
        while self._back:
            result, outcome = self._back.popleft()
            result.set(outcome)

    def _report_lateness(self) -> None:
        while True:
            gevent.sleep(_LATENESS_EVERY_S)
            late = self._engine.take_lateness()
            if len(late):
                self._fire("engine", Measure(LATENESS, 1000 * late.quantile(_SHARE)))

    def _fire(self, kind: str, measure: Measure) -> None:
        self._environment.events.request.fire(
            request_type=kind,
            name=measure.name,
            response_time=measure.milliseconds,
            response_length=measure.size_bytes,
            exception=CallError(measure.failure) if measure.failure else None,
            context={},
        )


class CallUser(User):
    """A caller who makes call after call by one scenario. Subclass it and give it a `scenario`.

    `host` is the server's voice webhook (`http://`) or its Media Streams WebSocket (`ws://`).
    """

    abstract = True
    scenario: Scenario
    wait_time = constant(0)

    @task
    def call(self) -> None:
        """One call, from the ring to the end."""
        _switchboard(self.environment).call(self.host or "", self.scenario)


def _switchboard(environment: Environment) -> Switchboard:
    """The engine of this process, made for its first call: a worker has its speed from its master only then."""
    found: Switchboard | None = getattr(environment, "switchboard", None)
    if found is None:
        options = environment.parsed_options
        found = Switchboard(environment, options.speed if options is not None else 1.0)
        environment.switchboard = found  # type: ignore[attr-defined]  # the one object that all users share
        environment.events.quitting.add_listener(lambda **_: found.close())
    return found


def let_calls_end(environment: Environment) -> None:
    """When the load ends, let calls come to their end by themselves, unless the user says how long that may take."""
    if not environment.stop_timeout:
        environment.stop_timeout = _STOP_TIMEOUT_S
