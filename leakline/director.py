"""A load run in Locust: its options, and what the process that directs it adds to Locust's own work.

The director starts the server under test on its host, reads its counters while the callers call, and when they have
gone asks for the verdict on its memory, which decides the exit code together with the thresholds.
"""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
from locust import LoadTestShape
from locust.env import Environment
from locust.rpc import Message
from locust.runners import MasterRunner

from leakline import demo
from leakline.harness.data.errors import LeaklineError, RunError, UsageError
from leakline.harness.data.model import RunResult
from leakline.harness.data.readings import Readings
from leakline.harness.judge.thresholds import Entry, Threshold, parse, violations
from leakline.harness.run.load.measures import CALL
from leakline.harness.run.load.server import HostProcess
from leakline.harness.run.load.shapes import SHAPES
from leakline.harness.run.mishap import traceback_in
from leakline.harness.run.settings import SoakSettings, from_files, make, pairs
from leakline.harness.run.stored import load as load_run

_POLL_S = 1.0
_WORKERS_S = 30.0
_LAST_REPORT_S = 4.0
_FEW = {"warmup": 8}
"""Calls before the load: at the pace of real ones."""
_DEMO_WEBHOOK = "http://127.0.0.1:{port}/incoming-call"
_DEFAULT_RUN_S = 60.0
_DEFAULT_THRESHOLD = "call.failed<=1%"

Show = Callable[[RunResult, list[str]], None]
"""Shows a person the verdict on the server's memory, and the thresholds that were not kept."""


def add_options(parser: Any) -> None:
    """Add leakline's options to Locust's."""

    def add(flag: str, **settings: Any) -> None:
        parser.add_argument(flag, include_in_web_ui=False, **settings)

    add("--sut", metavar="CMD", help="command that starts the server; {port} becomes a free port")
    add("--url", metavar="URL", help="its voice webhook (http://) or its Media Streams WebSocket (ws://)")
    add("--pid", type=int, metavar="N", help="instead of --sut: a server that runs already")
    add("--openai-port", type=int, metavar="N", help="port of the fake OpenAI")
    add("--leaks", metavar="NAMES", help="of the demo server, which is called when there is no --sut: none, all, ...")
    add("--scenario", metavar="NAME", help="a built-in scenario, or FILE.py:VARIABLE")
    add("--speed", type=float, default=1.0, metavar="X", help="call seconds per second")
    add("--settle", type=float, metavar="S", help="seconds that memory gets to come back")
    add("--env", action="append", metavar="NAME=VALUE", help="set for the server; may be repeated")
    add("--runs", metavar="DIR", help="where runs are kept")
    add("--memory-every", type=float, default=10.0, metavar="S", help="seconds between two full readings")
    add("--load-shape", choices=sorted(SHAPES), metavar="NAME", help=f"one of {', '.join(SHAPES)}")
    add(
        "--threshold", action="append", metavar="LIMIT", help=f"such as 'answer.p95<=800ms' or '{_DEFAULT_THRESHOLD}'"
    )


def settings_of(options: Namespace, scenario: str | None) -> SoakSettings:
    """The settings of the server under test that Locust's options tell. Raises UsageError."""
    names = ("sut", "url", "pid", "openai_port", "settle", "runs")
    given = {name: getattr(options, name) for name in names}
    given = {name: value for name, value in given.items() if value is not None}
    given |= {"speed": options.speed, "scenario": scenario, "env": pairs("env", options.env or ()) or None}
    if options.leaks is not None or not (given.keys() & {"sut", "url", "pid"} or from_files(Path.cwd())):
        if "sut" in given:
            raise UsageError("leaks: it is for the demo server; expected it without --sut")
        return SoakSettings(**demo.given(options.leaks or "none", {**_FEW, "url": _DEMO_WEBHOOK, **given}))
    return make(_FEW | given, Path.cwd())


class Shaped(LoadTestShape):
    """One of the shapes, with Locust's own options for its size and length."""

    use_common_options = True
    abstract = True

    def tick(self) -> tuple[int, float] | None:
        """How many callers there are to be now."""
        options = self.runner.environment.parsed_options if self.runner is not None else None
        if options is None:
            return None
        run_s = float(options.run_time or _DEFAULT_RUN_S)
        now, users = self.get_run_time(), int(options.num_users or 1)
        if now >= run_s:
            return None
        return SHAPES[options.load_shape](now, users, run_s), float(max(1, users))


class Director:
    """Directs one Locust test after the other."""

    def __init__(self, environment: Environment, scenario: str | None, show: Show) -> None:
        self.readings = Readings()
        """What the counters were in the newest test."""
        self.result: RunResult | None = None
        """The verdict on the newest test."""
        options = environment.parsed_options
        if options is None:
            raise RunError("Locust has no options")
        if not 0.5 <= options.memory_every <= 3600:
            raise UsageError(f"memory-every: expected seconds from 0.5 to 3,600, found {options.memory_every!r}")
        self._environment = environment
        self._every_s = float(options.memory_every)
        self._show = show
        self._settings = settings_of(options, scenario)
        options.scenario = self._settings.scenario  # the workers hear of it with Locust's own options
        texts = list(options.threshold or ())
        if not self._settings.load_scenario().faults and not any("call.failed" in text for text in texts):
            texts.append(_DEFAULT_THRESHOLD)
        self._thresholds: tuple[Threshold, ...] = tuple(parse(text) for text in texts)
        self._host: HostProcess | None = None
        self._most_users = 0
        self._broken: list[str] = []
        if options.load_shape is not None:
            environment.shape_class = Shaped()
            environment.shape_class.runner = environment.runner
        events = environment.events
        events.test_start.add_listener(lambda **_: self._carefully(self._begin))
        events.test_stop.add_listener(lambda **_: self._carefully(self._end))
        events.quitting.add_listener(lambda **_: self._carefully(self._quit))
        if _is_headless(environment):
            events.quit.add_listener(lambda **_: self._carefully(self._show_outcome))  # below Locust's tables
        self._begin()
        gevent.spawn(self._poll)

    def _carefully(self, work: Callable[[], None]) -> None:
        """Do a listener's work: Locust would write a traceback of what it raises, and go on as if nothing were."""
        host = self._host
        try:
            with traceback_in(Path(host.directory) if host is not None else None):
                work()
        except LeaklineError as error:
            self._fail(error)

    def _begin(self) -> None:
        """Start the host, unless it stands ready."""
        if self._host is not None:
            return
        self.readings, self.result, self._broken, self._most_users = Readings(), None, [], 0
        self._host = HostProcess(self._settings, self._every_s, _say)
        self._environment.host = self._host.url
        _say(f"{self._host.name} takes calls at {self._host.url}; the run's folder is {self._host.directory}")

    def _poll(self) -> None:
        while True:
            gevent.sleep(_POLL_S)
            self._carefully(self._take_readings)

    def _take_readings(self) -> None:
        host, runner = self._host, self._environment.runner
        if host is None or runner is None:
            return
        self._most_users = max(self._most_users, runner.user_count)
        for reading in host.take_readings(self._calls()[0], runner.user_count):
            self.readings.add(reading)

    def _calls(self) -> tuple[int, int]:
        """(made, failed)."""
        entries = [entry for (name, _), entry in self._environment.stats.entries.items() if name == CALL]
        return sum(entry.num_requests for entry in entries), sum(entry.num_failures for entry in entries)

    def _end(self) -> None:
        """The callers have gone: the verdict."""
        host, self._host = self._host, None
        if host is None:
            return
        self._wait_for_workers()
        made, failed = self._calls()
        failures = {error.error: error.occurrences for error in self._environment.stats.errors.values()}
        try:
            done = host.finish(
                calls=made,
                as_scripted=made - failed,
                failures={str(reason): number for reason, number in failures.items()},
                most_at_once=self._most_users,
            )
            self.result = load_run(Path(str(done["directory"])))
        except LeaklineError as error:
            self._fail(error)
        finally:
            host.close()
        entries: dict[str, Entry] = {name: entry for (name, _), entry in self._environment.stats.entries.items()}
        self._broken = violations(self._thresholds, entries)
        code = self.result.exit_code if self.result is not None else RunError.exit_code
        self._environment.process_exit_code = 1 if self._broken else code
        if not _is_headless(self._environment):
            self._show_outcome()

    def _wait_for_workers(self) -> None:
        """A master that quits does not wait for the calls of its workers; the verdict must."""
        runner = self._environment.runner
        if not isinstance(runner, MasterRunner) or not runner.user_count:
            return
        for worker in runner.clients.all:
            runner.server.send_to_client(Message("stop", None, worker.id))
        deadline = time.monotonic() + (self._environment.stop_timeout or 0.0) + _WORKERS_S
        while runner.user_count and time.monotonic() < deadline:
            gevent.sleep(0.2)
        gevent.sleep(_LAST_REPORT_S)  # what they counted comes every three seconds

    def _fail(self, error: LeaklineError) -> None:
        _say(str(error))
        host, self._host = self._host, None
        if host is not None:
            host.close()
        self._environment.process_exit_code = error.exit_code
        if self._environment.runner is not None:
            gevent.spawn(self._environment.runner.quit if _is_headless(self._environment) else self._stop)

    def _stop(self) -> None:
        if self._environment.runner is not None:
            self._environment.runner.stop()

    def _show_outcome(self) -> None:
        if self.result is not None:
            self._show(self.result, self._broken)

    def _quit(self) -> None:
        """Ended in the middle: no verdict. The callers hang up first, so that none of them meets a dead server."""
        host, self._host = self._host, None
        if host is None:
            return
        self._environment.stop_timeout = 0.0
        self._stop()
        host.close()
        _say("ended before the load did: there is no verdict on the server's memory")


def _is_headless(environment: Environment) -> bool:
    return environment.web_ui is None


def _say(text: str) -> None:
    sys.stderr.write(f"leakline: {text}\n")
    sys.stderr.flush()
