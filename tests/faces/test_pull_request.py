"""Soaks as a project's CI runs them on its pull requests, with the main branch's findings as the baseline."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BRIDGE = Path(__file__).parents[1] / "suts" / "bridge.py"
KNOWN = '    if LEAK == "task":\n'
ADDED = "    asyncio.get_running_loop().call_later(3600, print)  # new in this pull request\n"


def soaked(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    sut = f"{sys.executable} server.py {{port}} task"
    options = ("--cycles", "32", "--warmup", "8", "--concurrency", "4", "--settle", "0.5", "--scenario", "voicemail")
    command = [sys.executable, "-m", "leakline", "soak", "--sut", sut, "--url", "ws://127.0.0.1:{port}/", *options]
    return subprocess.run(
        [*command, *more],
        cwd=folder,
        env={**os.environ, "GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(folder / "summary.md")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A server with a leak that is known, and its baseline."""
    (tmp_path / "server.py").write_text(BRIDGE.read_text())
    assert soaked(tmp_path).returncode == 1
    (run,) = (tmp_path / "runs").iterdir()
    command = [sys.executable, "-m", "leakline", "baseline", str(run)]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    (known,) = json.loads((tmp_path / "leakline-baseline.json").read_text())["findings"]
    assert known["resource"] == "tasks"
    return tmp_path


def test_one_that_moves_code_passes_and_one_that_adds_a_leak_fails_on_its_line(project: Path) -> None:
    text = (project / "server.py").read_text()
    baseline = ("--baseline", "leakline-baseline.json")

    (project / "server.py").write_text(text.replace("LEAK = ", "# a line\n" * 30 + "LEAK = ", 1))
    moved = soaked(project, *baseline)
    assert moved.returncode == 0, moved.stdout + moved.stderr
    assert "same    tasks" in moved.stdout
    assert "::error" not in moved.stdout

    worse = text.replace(KNOWN, ADDED + KNOWN, 1)
    assert worse != text
    (project / "server.py").write_text(worse)
    added = soaked(project, *baseline)
    assert added.returncode == 1, added.stdout + added.stderr
    line = 1 + worse.splitlines().index(ADDED.rstrip("\n"))
    assert f"::error file=server.py,line={line}," in added.stdout
    assert "worse   tasks" in added.stdout  # it is at the place of the known one, and more than it
    assert "now with timers +1.00 a call" in added.stdout
    assert "\n  - timers +1.00 a call, " in (project / "summary.md").read_text()
