from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NoReturn

import pytest
from playwright.sync_api import Browser, sync_playwright

from leakline.__main__ import main
from leakline.harness.run.settings import SoakSettings

pytest_plugins = ["pytester"]

SUTS = Path(__file__).parent / "suts"
SHORT = {"cycles": 48, "warmup": 8, "concurrency": 4}


ROOT = Path(__file__).parents[1]


def missing(what: str, how: str) -> NoReturn:
    """Skip for a part that this machine lacks, saying how to get it; in CI that is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing, and CI must have it: {how}")
    pytest.skip(f"{what} is missing: {how}")


@pytest.fixture
def suts_python() -> str:
    """The interpreter of the virtual environment that real frameworks are installed in."""
    python = ROOT / ".venv-suts" / "bin" / "python"
    if not (python.parent.parent / ".installed").exists():
        missing("the frameworks' virtual environment", "make .venv-suts/.installed")
    return str(python)


@pytest.fixture
def node() -> str:
    """Node's program."""
    program = shutil.which("node")
    if program is None:
        missing("Node.js", "install Node.js 20 or newer")
    return program


@pytest.fixture(scope="session")
def chromium() -> str:
    """Chromium's program."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if program := shutil.which(name):
            return program
    missing("Chromium", "apt-get install chromium")


@pytest.fixture(scope="module")  # no longer: its event loop is in the way of other tests'
def browser(chromium: str) -> Iterator[Browser]:
    """A real Chromium."""
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def node_modules(node: str) -> Path:
    """The folder of the Node clients, with their packages installed."""
    folder = SUTS / "node"
    if not (folder / "node_modules" / "openai").is_dir():
        missing("the Node clients' packages", "make tests/suts/node/node_modules/.installed")
    return folder


@pytest.fixture
def restaurant_node(node: str) -> Path:
    """The folder of the reference server in Node, with its packages installed."""
    folder = ROOT / "restaurant_node"
    if not (folder / "node_modules" / "ws").is_dir():
        missing("the Node restaurant's packages", "make restaurant_node/node_modules/.installed")
    return folder


@pytest.fixture(scope="session")
def bridge_in() -> Callable[..., SoakSettings]:
    """Settings that soak the small bridge server with one planted leak, its run in a folder."""

    def settings(folder: Path, leak: str, *, loop: str = "", **more: object) -> SoakSettings:
        given = {
            "sut": f"{sys.executable} {SUTS / 'bridge.py'} {{port}} {leak} {loop}",
            "url": "ws://127.0.0.1:{port}/",
            "name": f"bridge-{leak}",
            "runs": str(folder / "runs"),
            **SHORT,
            **more,
        }
        return SoakSettings(**given)  # type: ignore[arg-type]

    return settings


@pytest.fixture
def bridge(bridge_in: Callable[..., SoakSettings], tmp_path: Path) -> Callable[..., SoakSettings]:
    """The same, in the test's own folder."""
    return partial(bridge_in, tmp_path)


@pytest.fixture
def command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line in this process, in a folder of its own: for what ends before any server is started."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setattr(sys, "argv", ["leakline", *arguments])
        capsys.readouterr()
        code: str | int | None = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code
        return subprocess.CompletedProcess(arguments, int(code or 0), *capsys.readouterr())

    return run


@pytest.fixture
def leakline(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the real command line in a folder of its own."""

    def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "leakline", *arguments],
            cwd=cwd or tmp_path,
            env={**os.environ, "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run
