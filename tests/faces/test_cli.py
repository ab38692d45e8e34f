import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import openai
import psutil
import pytest

from leakline.harness.run import stored

Leakline = Callable[..., "subprocess.CompletedProcess[str]"]
URL = "ws://127.0.0.1:{port}/media-stream"
SHORT = ("--cycles", "48", "--warmup", "8", "--concurrency", "4", "--settle", "1")


def test_a_leak_of_the_demo_server_is_found_alone(leakline: Leakline) -> None:
    done = leakline("soak", "--leaks", "websocket_listeners", *SHORT)
    assert done.returncode == 1, done.stdout + done.stderr
    (finding,) = [line for line in done.stdout.splitlines() if "LEAKING" in line]
    assert "listeners" in finding
    assert "CallSession._listen" in finding
    assert "restaurant/" in finding


def test_the_fixed_demo_server_is_clean(leakline: Leakline) -> None:
    done = leakline("soak", "--leaks", "none", *SHORT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "LEAKING" not in done.stdout
    for resource in ("connections", "sockets", "tasks", "timers", "listeners", "fds", "heap", "rss", "wakeups"):
        assert f"  {resource}" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--sut", "no-such-program", "--url", URL), "sut: expected a program to run, found 'no-such-program'"),
        (("--sut", "true"), "url: not given"),
        (("--sut", "true", "--url", "ftp://x/"), "url: expected the server's voice webhook"),
        (("--leaks", "none", "--cycles", "0"), "cycles: expected a whole number from 1"),
        (("--leaks", "none", "--cycles", "x"), "'x' is not a valid integer"),
        (("--leaks", "dripping"), "--leaks: expected none, all, or of duplicate_clients"),
        (("--leaks", "none", "--env", "A"), "--env: expected NAME=VALUE, found 'A'"),
        (("--leaks", "none", "--sut", "true", "--url", URL), "--leaks: it is for the demo server"),
        (("--leaks", "none", "--scenario", "nope"), "scenario: expected one of"),
        (("--leaks", "none", "--runs", "/dev/null/x"), "runs: cannot make"),
        (
            ("--leaks", "none", "--runs", "/sys/x"),
            "runs: cannot make /sys/x",
        ),  # nobody may write there, not even root
        (("--nope",), "No such option"),
    ],
)
def test_a_mistake_is_one_clear_message_and_exit_code_2(
    command_line: Leakline, arguments: tuple[str, ...], message: str
) -> None:
    done = command_line("soak", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("false", "the SUT never listened on 127.0.0.1:"),
        (f"{sys.executable} -c 'import time; time.sleep(60)'", "did not listen on 127.0.0.1:"),
    ],
)
def test_a_server_that_does_not_come_up_is_exit_code_3(leakline: Leakline, command: str, message: str) -> None:
    done = leakline("soak", "--sut", command, "--url", URL, "--start-timeout", "1")
    assert done.returncode == 3
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_run_leaves_nothing_running(tmp_path: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "leakline", "soak", "--leaks", "none"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 20
        children: list[psutil.Process] = []
        while not children and time.monotonic() < deadline:
            children = psutil.Process(process.pid).children(recursive=True)
            time.sleep(0.05)
        assert children
        process.send_signal(number)
        _, stderr = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert "interrupted" in stderr
    assert "Traceback" not in stderr
    assert not any(child.is_running() for child in children)


def test_the_projects_own_server_comes_from_its_toml(leakline: Leakline, tmp_path: Path) -> None:
    (tmp_path / "leakline.toml").write_text(f"sut = 'false'\nurl = '{URL}'\n")
    done = leakline("soak")
    assert done.returncode == 3
    assert "exited with status 1" in done.stderr


def test_scenarios_are_listed(leakline: Leakline) -> None:
    done = leakline("scenarios")
    assert done.returncode == 0
    assert "two_burgers" in done.stdout


def test_fakes_come_up_with_an_environment_and_serve(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "leakline", "fakes", "up", "--fault", "status(code=503)@models x1"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(6)]
        environment = dict(line.removeprefix("export ").strip().split("=", 1) for line in lines)
        client = openai.OpenAI(
            api_key=environment["OPENAI_API_KEY"], base_url=environment["OPENAI_BASE_URL"], max_retries=1
        )
        with client:
            assert next(iter(client.models.list())).id == "gpt-realtime"
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert "Traceback" not in stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--scenario", "nope"), "scenario: expected one of"),
        (("--fault", "boom"), "fault: expected NAME"),
        (("--speed", "0"), "speed: expected"),
        (("--openai-port", "70000"), "port: cannot listen"),
    ],
)
def test_fakes_that_cannot_come_up_say_why(command_line: Leakline, arguments: tuple[str, ...], message: str) -> None:
    done = command_line("fakes", "up", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_secret_in_the_environment_is_in_no_file_of_the_run(leakline: Leakline, tmp_path: Path) -> None:
    secret = "sk-live-0123456789abcdef"
    bridge = Path(__file__).parents[1] / "suts" / "bridge.py"
    done = leakline(
        *("soak", "--sut", f"{sys.executable} {bridge} {{port}} none", "--url", "ws://127.0.0.1:{port}/"),
        *("--cycles", "9", "--warmup", "1", "--env", f"MY_SECRET={secret}"),
    )
    assert done.returncode in (0, 3), done.stderr
    assert secret not in done.stdout + done.stderr
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert any(file.name == "journal.jsonl" for file in files)
    assert not [file for file in files if secret.encode() in file.read_bytes()]
    assert any(b"MY_SECRET" in file.read_bytes() for file in files)


def test_a_full_disk_ends_the_run_with_its_reason_and_keeps_what_was_written(tmp_path: Path) -> None:
    bridge = Path(__file__).parents[1] / "suts" / "bridge.py"
    soak = [sys.executable, "-m", "leakline", "soak", "--sut", f"{sys.executable} {bridge} {{port}} none"]
    soak += [
        "--url",
        "ws://127.0.0.1:{port}/",
        "--cycles",
        "200",
        "--warmup",
        "1",
        "--concurrency",
        "4",
        "--scenario",
        "voicemail",
    ]
    done = subprocess.run(
        ["bash", "-c", 'ulimit -f 12; exec "$@"', "bash", *soak],  # files of 12 KiB at the most
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert "journal.jsonl: cannot be written: File too large; what it has so far stays" in done.stderr
    assert "Traceback" not in done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    kinds = [json.loads(line)["kind"] for line in (run / "journal.jsonl").read_text().splitlines()[:-1]]
    assert "sample" in kinds


_JUMPING = """
import sys, time
real = time.time
time.time = lambda: real() + 3600 * (int(4 * time.monotonic()) % 2)  # an hour there and back, twice a second
from leakline.cli import main
main()
"""


_BROKEN = """
from leakline.harness.run import soak
soak.judge = lambda *_, **__: 1 / 0  # a mistake in leakline itself
from leakline.__main__ import main
main()
"""


def test_a_mistake_in_leakline_itself_is_exit_code_4_and_one_line_with_the_traceback_in_the_runs_folder(
    tmp_path: Path,
) -> None:
    bridge = Path(__file__).parents[1] / "suts" / "bridge.py"
    soak = ["soak", "--sut", f"{sys.executable} {bridge} {{port}} none", "--url", "ws://127.0.0.1:{port}/", *SHORT]
    done = subprocess.run(
        [sys.executable, "-c", _BROKEN, *soak], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 4, done
    (told,) = [line for line in done.stderr.splitlines() if line]
    assert "leakline itself failed (ZeroDivisionError: division by zero); this says nothing about the server" in told
    (folder,) = (tmp_path / "runs").iterdir()
    assert str(folder / "internal-error.txt") in told.replace("runs/", f"{tmp_path}/runs/")
    assert "soak.py" in (folder / "internal-error.txt").read_text()
    assert "division by zero" in (folder / "journal.jsonl").read_text()


def test_so_is_one_outside_of_a_run(tmp_path: Path) -> None:
    script = "from leakline import cli\ncli.load_run = lambda _: 1 / 0\ncli.main()\n"
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script, "report", "x"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 4, done
    assert "Traceback" not in done.stderr
    (file,) = tmp_path.glob("leakline-error-*/internal-error.txt")
    assert str(file) in done.stderr


def test_a_baseline_that_is_not_there_is_told_before_the_first_call(command_line: Leakline, tmp_path: Path) -> None:
    done = command_line("soak", "--sut", "true", "--url", "ws://127.0.0.1:{port}/", "--baseline", "nope.json")
    assert done.returncode == 2
    assert "nope.json: expected a run's folder or a baseline" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_clock_that_is_set_meanwhile_changes_nothing(tmp_path: Path) -> None:
    bridge = Path(__file__).parents[1] / "suts" / "bridge.py"
    soak = [
        sys.executable,
        "-c",
        _JUMPING,
        "soak",
        "--sut",
        f"{sys.executable} {bridge} {{port}} model_socket",
        *("--scenario", "voicemail", *SHORT),
    ]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [*soak, "--url", "ws://127.0.0.1:{port}/"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    result = stored.load(run)
    assert [found.resource for found in result.findings] == ["connections"]
    times = [sample.at_s for sample in result.samples]
    assert times == sorted(times)
    assert times[-1] < result.seconds < 120
    assert result.seen
    for row in result.seen:
        assert 0 <= row.opened_s <= (row.closed_s or 120) <= 120, row
