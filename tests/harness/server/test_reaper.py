"""Nothing of a run is left when its harness is killed."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from leakline.harness.run.journal import FILE_NAME
from leakline.harness.server import scratch
from leakline.harness.server.process import Sut
from leakline.harness.server.reaper import Reaper, is_running, members

STUBBORN = (
    "import signal, subprocess, sys, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    "print(child.pid, flush=True)\n"
    "time.sleep(600)\n"
)
OWNER = (
    "import os, sys, time\n"
    "from leakline.harness.server import scratch\n"
    "from leakline.harness.server.reaper import Reaper\n"
    "with Reaper() as reaper:\n"
    "    reaper.track(int(sys.argv[1]))\n"
    "    print(scratch.make('tmp'), reaper._process.pid, flush=True)\n"
    "    time.sleep(600)\n"
)


def until(what: object, limit_s: float = 15.0) -> bool:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if what():  # type: ignore[operator]
            return True
        time.sleep(0.05)
    return False


def test_a_session_and_the_folders_go_with_a_harness_that_is_killed() -> None:
    stubborn = subprocess.Popen(
        [sys.executable, "-c", STUBBORN], start_new_session=True, stdout=subprocess.PIPE, text=True
    )
    assert stubborn.stdout is not None
    stubborn.stdout.readline()
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(stubborn.pid)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert owner.stdout is not None
    folder, reaper = owner.stdout.readline().split()
    assert Path(folder).is_dir()
    os.killpg(owner.pid, signal.SIGKILL)
    owner.wait()
    assert until(lambda: not members(stubborn.pid))
    assert until(lambda: not Path(folder).exists())
    assert until(lambda: not psutil.pid_exists(int(reaper)) or psutil.Process(int(reaper)).status() == "zombie")
    stubborn.wait()
    for process in (stubborn, owner):
        assert process.stdout is not None
        process.stdout.close()


def test_a_run_that_ends_well_ends_its_reaper_and_nothing_else(tmp_path: Path) -> None:
    async def run(reaper: Reaper) -> None:
        command = [sys.executable, "-c", "import time; time.sleep(600)"]
        async with Sut(command, dict(os.environ), tmp_path / "log", reaper):
            await asyncio.sleep(1.0)

    with Reaper() as reaper:
        asyncio.run(run(reaper))
        os.kill(reaper._process.pid, signal.SIGTERM)  # it is deaf to what is meant for the run
        time.sleep(0.2)
        assert reaper._process.poll() is None
    assert reaper._process.returncode == 0


def test_a_run_goes_on_without_a_reaper(tmp_path: Path) -> None:
    with Reaper() as reaper:
        reaper._process.kill()
        reaper._process.wait()
        reaper.track(1)
        reaper.forget(1)


def test_folders_of_the_dead_are_swept_and_no_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    ours = scratch.make("tmp")
    theirs = tmp_path / f"leakline-tmp-{dead.pid}-0a"
    theirs.mkdir()
    (theirs / "file").touch()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    link = tmp_path / f"leakline-ca-{dead.pid}-0b"
    link.symlink_to(elsewhere)
    other = tmp_path / "leakline-notes"
    other.mkdir()
    assert scratch.sweep() == [theirs]
    assert ours.stat().st_mode & 0o777 == 0o700
    assert all(path.exists() for path in (ours, elsewhere, link, other))


@contextmanager
def started(folder: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A soak of hundreds of calls, once it keeps a journal."""
    with subprocess.Popen(
        [sys.executable, "-m", "leakline", "soak", "--cycles", "400", *options],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as soak:
        try:
            assert until(lambda: list(folder.glob(f"runs/*/{FILE_NAME}")), 60.0)
            yield soak
        finally:
            soak.kill()


def leakline(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "leakline", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("signal_", [signal.SIGKILL, signal.SIGTERM])
def test_a_soak_that_is_killed_leaves_its_journal_and_nothing_else(tmp_path: Path, signal_: signal.Signals) -> None:
    """At a moment that nobody has chosen."""
    moment_s = random.SystemRandom().uniform(0.0, 4.5)
    folders = set(Path(scratch.path("x")).parent.glob("leakline-*"))
    with started(tmp_path, "--leaks", "timeout_timers") as soak:
        time.sleep(moment_s)
        family = psutil.Process(soak.pid).children(recursive=True)
        soak.send_signal(signal_)
        soak.wait(20)
    assert until(lambda: not any(map(is_running, family))), f"killed after {moment_s:.2f} s"
    made = set(Path(scratch.path("x")).parent.glob(f"leakline-*-{soak.pid}-*")) - folders
    assert until(lambda: not any(path.exists() for path in made))
    (run,) = (tmp_path / "runs").iterdir()
    lines = (run / FILE_NAME).read_text().splitlines()
    assert all(json.loads(line)["kind"] for line in lines[:-1])
    told = leakline(tmp_path, "report", str(run))
    assert "Traceback" not in told.stderr
    assert "did not come to its end" in told.stdout + told.stderr


def test_a_run_that_was_cut_off_is_made_again_with_its_settings(tmp_path: Path) -> None:
    bridge = Path(__file__).parents[2] / "suts" / "bridge.py"
    sut = f"{sys.executable} {bridge} {{port}} task"
    server = ("--sut", sut, "--url", "ws://127.0.0.1:{port}/", "--env", "KEY=secret")
    with started(tmp_path, *server, "--scenario", "voicemail"):
        (run,) = (tmp_path / "runs").iterdir()
        assert until(lambda: '"sample"' in (run / FILE_NAME).read_text(), 60.0)
    resume = ("soak", "--resume", str(run), "--cycles", "16", "--warmup", "4", "--settle", "0.5")
    again = leakline(tmp_path, *resume)
    assert (again.returncode, "Traceback" in again.stderr) == (2, False)
    assert "env: expected --env KEY=VALUE again" in again.stderr
    again = leakline(tmp_path, *resume, "--env", "KEY=secret")
    assert again.returncode == 1, again.stdout + again.stderr
    assert again.stdout.startswith(f"makes {run} again, which was interrupted after ")
    assert "LEAKING   tasks" in again.stdout
    assert "voicemail" in again.stdout
