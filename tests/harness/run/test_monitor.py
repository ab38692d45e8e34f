"""`leakline watch` beside a real server that begins to hold too much."""

import asyncio
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from leakline.harness.data.errors import UsageError
from leakline.harness.judge.alerts import ALERTS, Change, Thresholds
from leakline.harness.run.monitor import Watch, WatchSettings
from leakline.harness.server.ports import free_port, is_listening

HOARDER = Path(__file__).parents[2] / "suts" / "node" / "hoarder.cjs"


@contextmanager
def hoarder(port: int) -> Iterator[subprocess.Popen[bytes]]:
    def few_files() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))  # Node raises the soft one to the hard one

    with subprocess.Popen(["node", str(HOARDER), str(port)], preexec_fn=few_files) as process:
        try:
            yield process
        finally:
            process.kill()


async def until_listening(port: int) -> None:
    async with asyncio.timeout(20):
        while not await is_listening("127.0.0.1", port):
            await asyncio.sleep(0.05)


@pytest.mark.usefixtures("node")
def test_each_alert_is_raised_once_and_cleared_once() -> None:
    port = free_port()
    with hoarder(port) as process:
        told, changes, page, scraped = asyncio.run(_through_all(process.pid, port))
        assert process.poll() is None
    expected = [(alert, state) for alert in ALERTS for state in (True, False)]
    assert [(change.alert, change.raised) for change in changes] == expected, changes
    assert [(body["alert"], body["state"] == "raised") for body in told] == expected
    assert "15 listeners of 'audio' on one Bus, which allows 10" in {c.text for c in changes}
    assert scraped["leakline_alert", "timers"] == 1.0
    assert scraped["leakline_alert", "fds"] == 0.0
    assert scraped["leakline_resource", "timers"] >= 30
    assert "# HELP leakline_alert" in page


async def _through_all(pid: int, port: int):  # type: ignore[no-untyped-def]
    told: list[dict[str, object]] = []
    changes: list[Change] = []
    page = ""

    async def hear(request: web.Request) -> web.Response:
        told.append(await request.json())
        return web.Response()

    app = web.Application()
    app.router.add_post("/", hear)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    await until_listening(port)
    settings = WatchSettings(
        pid=pid,
        every_s=0.3,
        for_s=90.0,
        metrics_port=0,
        webhook=f"http://127.0.0.1:{runner.addresses[0][1]}/",
        # The fds of this test's own sockets and the timers of its connections come and go.
        limits=Thresholds(connections=10, heap_mb_per_hour=1e9),
    )
    steps = [f"{verb}/{alert}" for alert in ALERTS for verb in ("take", "free")]
    async with aiohttp.ClientSession() as http, Watch(settings) as watch:
        looks = sent = 0
        async for seen in watch.updates():
            looks += 1
            changes += seen.changes
            if len(changes) == 1 and not page:
                async with http.get(f"http://127.0.0.1:{watch.metrics_port}/metrics") as answer:
                    page = await answer.text()
            if len(changes) == len(steps):
                break
            if looks > 2 and len(changes) == sent:
                sent += 1
                async with http.get(f"http://127.0.0.1:{port}/{steps[sent - 1]}") as answer:
                    await answer.read()
    await runner.cleanup()
    scraped = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }
    return told, changes, page, scraped


def test_a_server_without_an_agent_is_watched_from_outside_and_its_end_is_the_end() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"]) as process:

        async def watch() -> list[tuple[str, ...]]:
            notes = []
            async with Watch(WatchSettings(pid=process.pid, every_s=0.1, agent=False)) as watching:
                async for seen in watching.updates():
                    notes.append(seen.notes)
                    assert set(seen.values) == {"rss", "threads", "fds", "sockets", "children"}
                    process.send_signal(signal.SIGKILL)
            return notes

        assert asyncio.run(watch()) == [()]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"pid": 999_999_999}, "pid: expected a process that runs"),
        ({"pid": os.getpid(), "every_s": 0.0}, "every: expected seconds"),
        ({"pid": os.getpid(), "for_s": -1.0}, "for: expected seconds"),
        ({"pid": os.getpid(), "metrics_port": 70_000}, "metrics-port: expected a port"),
        ({"pid": os.getpid(), "webhook": "ftp://x"}, "webhook: expected an http URL"),
    ],
)
def test_wrong_settings_are_refused(given: dict[str, object], said: str) -> None:
    make: Callable[..., WatchSettings] = WatchSettings
    with pytest.raises(UsageError, match=said):
        Watch(make(**given))


def test_on_the_command_line_it_prints_a_line_a_reading(
    leakline: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"]) as process:
        try:
            limits = ("--threshold", "fds_share=0")
            done = leakline("watch", "--pid", str(process.pid), "--every", "0.2", "--for", "0.5", *limits)
        finally:
            process.kill()
    assert done.returncode == 1, done.stderr
    assert "ALERT  fds: " in done.stdout
    assert "rss" in done.stdout
    wrong = leakline("watch", "--pid", str(os.getpid()), "--threshold", "fd=1")
    assert wrong.returncode == 2
    assert "threshold: expected one of timers" in wrong.stderr
