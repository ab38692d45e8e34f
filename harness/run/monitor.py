"""The monitor of `leakline watch`: reads the counters of a server that runs at intervals, and raises alerts.

It makes no calls and stands in for nobody: what it sees is what the server's own traffic does, in staging or
production. Counters and alerts go to the terminal, to a page for Prometheus and to a webhook.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import aiohttp
import psutil
from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from leakline.harness.data.errors import RunError, UsageError
from leakline.harness.data.resources import Resource, gauge
from leakline.harness.judge.alerts import ALERTS, Alerts, Change, Observation, Thresholds
from leakline.harness.measure import process
from leakline.harness.measure.agents import Agents
from leakline.harness.measure.gauges import Gauges
from leakline.harness.measure.gauges import parse as parse_gauges
from leakline.harness.measure.inject import inject_agent
from leakline.harness.server.attached import Attached

CALLS_GAUGE = "calls"
"""The user's gauge that tells how many calls are going on."""

_WEBHOOK_S = 5.0
_CONTENT = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True)
class WatchSettings:
    """Settings of the monitor. Raises UsageError, naming the field."""

    pid: int
    every_s: float = 15.0
    """Seconds between readings."""
    for_s: float | None = None
    """Seconds to go on for; None is until the server ends."""
    gauges: Mapping[str, str] = field(default_factory=dict)
    """Numbers of the server's own; one named `calls` tells how many calls are going on."""
    limits: Thresholds = field(default_factory=Thresholds)
    agent: bool = True
    """Whether to put an agent into the server: each reading then pauses the server, for some tens of ms."""
    metrics_port: int | None = None
    """Port on loopback of a page for Prometheus."""
    webhook: str = ""
    """URL that each change of an alert is posted to, as JSON."""

    def __post_init__(self) -> None:
        if not 0.05 <= self.every_s <= 86_400:
            raise UsageError(f"every: expected seconds from 0.05 to 86,400, found {self.every_s!r}")
        if self.for_s is not None and not 0 < self.for_s <= 365 * 86_400:
            raise UsageError(f"for: expected seconds above 0, found {self.for_s!r}")
        if self.metrics_port is not None and not 0 <= self.metrics_port <= 65_535:
            raise UsageError(f"metrics-port: expected a port from 0 to 65,535, found {self.metrics_port!r}")
        if self.webhook and (
            urlsplit(self.webhook).scheme not in ("http", "https") or not urlsplit(self.webhook).hostname
        ):
            raise UsageError(f"webhook: expected an http URL, found {self.webhook!r}")
        parse_gauges(self.gauges)


@dataclass(frozen=True, slots=True)
class MonitorUpdate:
    """The server at one of the intervals."""

    values: Mapping[Resource, float]
    """The counters."""
    changes: tuple[Change, ...]
    """Alerts that were raised or cleared since the observation before."""
    notes: tuple[str, ...] = ()
    """What could not be read or sent, each problem once."""


class Watch:
    """A monitor at work; iterate over `updates`. `metrics_port` is known inside its `with`.

    Raises UsageError when there is no such process, or the port for the metrics is taken.
    """

    def __init__(self, settings: WatchSettings) -> None:
        self._settings = settings
        self._sut = Attached(settings.pid)
        self._alerts = Alerts(settings.limits)
        self._stack = AsyncExitStack()
        self._reported: set[str] = set()
        self._registry = CollectorRegistry()
        labels = {"labelnames": ("resource",), "registry": self._registry}
        self._held = Gauge("leakline_resource", "What the server holds.", **labels)  # type: ignore[arg-type]
        self._raised = Gauge("leakline_alert", "1 while the alert is raised.", ("alert",), registry=self._registry)
        self.metrics_port: int | None = None

    async def __aenter__(self) -> Watch:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _start(self) -> None:
        settings = self._settings
        self._http = await self._stack.enter_async_context(
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_WEBHOOK_S))
        )
        self._gauges = await self._stack.enter_async_context(Gauges(parse_gauges(settings.gauges)))
        self._agents = await self._stack.enter_async_context(Agents())
        self._notes = []
        if settings.agent:
            problem = await inject_agent(self._sut, self._agents)
            self._notes += [problem] if problem else []
            await self._agents.begin()
        if settings.metrics_port is not None:
            await self._serve_metrics(settings.metrics_port)

    async def _serve_metrics(self, port: int) -> None:
        async def page(_: web.Request) -> web.Response:
            return web.Response(body=generate_latest(self._registry), headers={"Content-Type": _CONTENT})

        app = web.Application()
        app.router.add_get("/metrics", page)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, "127.0.0.1", port)
        try:
            await site.start()
        except OSError as error:
            raise UsageError(f"metrics-port: cannot listen on {port}: {error.strerror}") from None
        self.metrics_port = int(runner.addresses[0][1])

    async def updates(self) -> AsyncIterator[MonitorUpdate]:
        """One at every interval, until the time is over or the server has ended."""
        settings = self._settings
        began = time.monotonic()
        number = 0
        while self._sut.is_running:
            yield await self._observe()
            number += 1
            next_s = began + number * settings.every_s
            if settings.for_s is not None and next_s - began > settings.for_s:
                return
            await asyncio.sleep(max(0.0, next_s - time.monotonic()))

    async def _observe(self) -> MonitorUpdate:
        values: dict[Resource, float] = {}
        notes = list(self._notes)
        try:
            values |= await self._gauges.read()
        except RunError as error:
            notes.append(str(error))
        if self._agents.present:
            values |= await self._agents.sample()
            notes += [*self._agents.problems, *self._agents.detached]
        values |= process.read(self._sut)[0]
        changes = self._alerts.observe(self._reading(values))
        for resource, value in values.items():
            self._held.labels(resource=resource).set(value)
        for alert in ALERTS:
            self._raised.labels(alert=alert).set(alert in self._alerts.raised)
        for change in changes:
            notes += await self._post(change)
        new = tuple(note for note in dict.fromkeys(notes) if note not in self._reported)
        self._reported.update(new)
        return MonitorUpdate(values, changes, new)

    def _reading(self, values: Mapping[Resource, float]) -> Observation:
        worst = max(self._agents.listener_excess, key=lambda each: each.count - each.limit, default=None)
        return Observation(
            at_s=time.monotonic(),
            heap_bytes=values.get("heap", values["rss"]),
            sockets=values["sockets"],
            fds=values["fds"],
            fds_limit=self._limit(),
            timers=values.get("timers"),
            most_listened=None if worst is None else (worst.emitter, worst.event, worst.count, worst.limit),
            calls=values.get(gauge(CALLS_GAUGE)),
        )

    def _limit(self) -> float | None:
        """The process's own limit of open files."""
        with contextlib.suppress(psutil.Error, AttributeError, OSError):
            return float(psutil.Process(self._sut.pid).rlimit(psutil.RLIMIT_NOFILE)[0])
        return None

    async def _post(self, change: Change) -> list[str]:
        if not self._settings.webhook:
            return []
        body = {
            "alert": change.alert,
            "state": "raised" if change.raised else "cleared",
            "text": change.text,
            "pid": self._sut.pid,
            "at": time.time(),
        }
        try:
            async with self._http.post(self._settings.webhook, json=body) as answer:
                return [] if answer.status < 400 else [f"the webhook answered {answer.status}"]
        except (aiohttp.ClientError, TimeoutError) as error:
            return [f"the webhook could not be reached: {error or type(error).__name__}"]
