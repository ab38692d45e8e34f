"""Whole load runs: Locust, the engine, a real server, its memory."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.sync_api import Browser

from leakline.harness.server.ports import free_port
from leakline.load_command import LOCUSTFILE

QUICK = ("--speed", "10", "--settle", "2", "--memory-every", "1")


def load(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "leakline", "load", *arguments],
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


@contextmanager
def under_way(tmp_path: Path, output: int) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "leakline", "load", "-u", "4", "-t", "60s", *QUICK],
        cwd=tmp_path,
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def journal(tmp_path: Path) -> list[dict[str, object]]:
    [path] = (tmp_path / "runs").glob("*/journal.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_server_whose_memory_comes_back_passes(tmp_path: Path) -> None:
    done = load(tmp_path, "--users", "6", "--run-time", "8s", "--html", "out/load.html", *QUICK)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("webhook", "TwiML", "stream open", "first audio", "answer", "hang-up to close", "frame lateness"):
        assert re.search(rf"{name}.* 0\(0.00%\)", done.stdout + done.stderr), name
    assert "clean" in done.stdout
    assert (tmp_path / "out" / "load.html").exists()
    assert "content-security-policy" in (tmp_path / "out" / "load-memory.html").read_text().lower()
    readings = [record for record in journal(tmp_path) if record["kind"] == "reading"]
    assert len(readings) >= 8


def test_a_leak_under_load_fails_with_its_line(tmp_path: Path) -> None:
    done = load(tmp_path, "-u", "6", "-t", "8s", "--leaks", "websocket_listeners", *QUICK)
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"LEAKING +listeners +\+5\.00 a call .*bridge\.py:\d+", done.stdout)


def test_a_threshold_that_is_not_kept_fails_the_run(tmp_path: Path) -> None:
    done = load(tmp_path, "-u", "4", "-t", "4s", "--threshold", "answer.p95<=1ms", *QUICK)
    assert done.returncode == 1
    assert "NOT KEPT  threshold answer.p95 <= 1 ms: it was" in done.stdout


def thorough(*values: object) -> Any:
    return pytest.param(*values, marks=pytest.mark.thorough)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--threshold", "fast"), "threshold: expected NAME.STATISTIC<=NUMBER"),
        (("--sut", "nosuch", "--url", "ws://127.0.0.1:{port}/"), "sut: expected a program to run"),
        thorough(("--scenario", "nope"), "scenario: expected one of"),
        thorough(("--env", "A"), "env: expected NAME=VALUE, found 'A'"),
        thorough(("--memory-every", "0"), "memory-every: expected seconds"),
        thorough(("--sut", "x", "--leaks", "all"), "leaks: it is for the demo server"),
        (("QuestionUser", "DropUser"), "expected one class of users"),
    ],
)
def test_wrong_use_is_told_and_exits_with_2(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    done = load(tmp_path, "--run-time", "3s", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_use_of_our_own_options_is_told_before_locust_is_started(command_line: Any) -> None:
    done = command_line("load", "--users", "0")
    assert done.returncode == 2
    assert "Invalid value for '-u' / '--users'" in done.stderr


def test_a_server_that_dies_under_load_ends_the_run_and_says_so(tmp_path: Path) -> None:
    with under_way(tmp_path, subprocess.PIPE) as process:
        _server_of(process.pid).kill()
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 3, output
    assert "the SUT ended" in output


def test_nothing_is_left_when_the_load_generator_is_killed(tmp_path: Path) -> None:
    with under_way(tmp_path, subprocess.DEVNULL) as process:
        _server_of(process.pid)
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    gone, alive = psutil.wait_procs(family, timeout=30)
    assert gone
    assert not alive


def _server_of(pid: int) -> psutil.Process:
    """The demo server, once it takes calls."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for child in psutil.Process(pid).children(recursive=True):
            if "leakline.restaurant" in child.cmdline() and any(
                c.status == "ESTABLISHED" for c in child.net_connections()
            ):
                return child
        time.sleep(0.2)
    pytest.fail("no server came up")


@contextmanager
def web(tmp_path: Path, *arguments: str) -> Iterator[str]:
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "locust",
        "-f",
        str(LOCUSTFILE),
        "--web-host",
        "127.0.0.1",
        "--web-port",
        str(port),
    ]
    process = subprocess.Popen(
        [*command, *arguments, *QUICK], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}/"
    try:
        for _ in range(150):
            try:
                urllib.request.urlopen(url, timeout=2).close()
                break
            except OSError:
                time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def test_the_web_page_shows_the_servers_memory(tmp_path: Path, browser: Browser) -> None:
    with web(tmp_path, "--autostart", "-u", "5", "-r", "5", "-t", "8s") as url:
        page = browser.new_page(viewport={"width": 1280, "height": 1400})
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(url)
        page.get_by_role("tab", name="SUT memory").click()
        page.wait_for_selector("#leakline-memory canvas", timeout=20_000)
        page.get_by_role("cell", name="heap").wait_for(timeout=20_000)
        assert page.locator("#leakline-memory figcaption").all_inner_texts()[:2] == ["callers (users)", "connections"]
        page.wait_for_timeout(3000)
        shot = page.screenshot(path=str(tmp_path / "tab.png"), full_page=True)
        assert len(shot) > 40_000
        page.get_by_text("The verdict after the load: clean").wait_for(timeout=60_000)
        page.get_by_role("tab", name="Statistics").click()
        page.wait_for_timeout(500)
        assert not page.locator("#leakline-memory").is_visible()
        page.close()
    assert problems == []


def test_a_master_and_two_workers_on_addresses_of_their_own(tmp_path: Path) -> None:
    """The loopback net is 127.0.0.0/8: the master listens on one address, the server and its model on another."""
    port = free_port()
    locust = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless"]
    workers = [
        subprocess.Popen(
            [*locust, "--worker", "--master-host", "127.0.0.2", "--master-port", str(port)],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(2)
    ]
    master = [
        *locust,
        "--only-summary",
        "--master",
        "--master-bind-host",
        "127.0.0.2",
        "--master-bind-port",
        str(port),
    ]
    try:
        done = subprocess.run(
            [*master, "--expect-workers", "2", "-u", "8", "-r", "8", "-t", "8s", "--scenario", "question", *QUICK],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        for worker in workers:
            worker.terminate()
            worker.wait(30)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"question +call +\d\d", done.stdout + done.stderr)
    assert "clean" in done.stdout
    counted = [record for record in journal(tmp_path) if record["kind"] == "reading"]
    assert max(int(str(record["users"])) for record in counted) == 8
