import asyncio
import gc
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from leakline.harness.data.errors import RunError, UsageError
from leakline.harness.server.process import STOP_S, Sut, parse_command

PYTHON = sys.executable
CHILD = (
    "import subprocess, sys, time\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import signal, time; "
    "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)'])\n"
    "print(child.pid, flush=True)\n"
    "time.sleep(60)\n"
)


def sut(tmp_path: Path, *command: str, stop_s: float = STOP_S) -> Sut:
    return Sut(command, dict(os.environ), tmp_path / "sut.log", stop_s=stop_s)


def test_a_command_is_words_and_not_a_shell_line(tmp_path: Path) -> None:
    assert parse_command(f"{PYTHON} -c 'a b'") == (PYTHON, "-c", "a b")
    with pytest.raises(UsageError, match="cannot split"):
        parse_command("'")
    with pytest.raises(UsageError, match="found nothing"):
        parse_command(" ")
    with pytest.raises(UsageError, match="'no-such-program', which does not exist"):
        parse_command("no-such-program --port 1")
    with pytest.raises(UsageError, match="which is not executable"):
        parse_command(str(tmp_path))


def test_a_server_that_ends_says_how_and_what_it_printed(tmp_path: Path) -> None:
    async def run() -> None:
        async with sut(tmp_path, PYTHON, "-c", "print('no\\x1b[31m config'); raise SystemExit(3)") as server:
            await server.until_listening("127.0.0.1", 1, 10.0)

    with pytest.raises(RunError, match="exited with status 3; it printed: no") as error:
        asyncio.run(run())
    assert "\x1b" not in str(error.value)


def test_a_server_that_never_listens_is_given_up(tmp_path: Path) -> None:
    async def run() -> None:
        async with sut(tmp_path, PYTHON, "-c", "import time; time.sleep(60)") as server:
            await server.until_listening("127.0.0.1", 1, 0.3)

    with pytest.raises(RunError, match=r"did not listen on 127\.0\.0\.1:1 within 0\.3 s"):  # it still ran then
        asyncio.run(run())


def test_to_wait_for_its_end_and_give_up_leaves_nothing(tmp_path: Path) -> None:
    def waiting() -> int:
        gc.collect()
        return sum(isinstance(thing, asyncio.Future) for thing in gc.get_objects())

    async def run() -> None:
        async with sut(tmp_path, PYTHON, "-c", "import time; time.sleep(60)") as server:

            async def give_up(times: int) -> int:
                for _ in range(times):
                    with pytest.raises(TimeoutError):
                        await asyncio.wait_for(server.ended(), 0.001)
                return waiting()

            after_one = await give_up(1)
            assert await give_up(20) <= after_one
            os.kill(server.pid, signal.SIGKILL)
            await asyncio.wait_for(server.ended(), 10.0)
            assert server.how_it_ended().startswith("was killed by SIGKILL")

    asyncio.run(run())


def test_a_killed_server_names_the_signal(tmp_path: Path) -> None:
    async def run() -> str:
        async with sut(tmp_path, PYTHON, "-c", "import os; os.kill(os.getpid(), 9)") as server:
            await server.ended()
            return server.how_it_ended()

    assert asyncio.run(run()) == "was killed by SIGKILL, having printed nothing"


def test_nothing_that_a_server_started_is_left_behind(tmp_path: Path) -> None:
    async def run() -> int:
        async with sut(tmp_path, PYTHON, "-c", CHILD) as server:
            while not server.last_lines():
                await asyncio.sleep(0.02)
            child = int(server.last_lines()[0])
            assert {p.pid for p in server.family()} == {server.pid, child}
            return child

    child = asyncio.run(run())
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


def test_a_program_that_cannot_be_run_is_a_usage_error(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF not really")
    broken.chmod(0o755)

    async def run() -> None:
        async with sut(tmp_path, str(broken)):
            pytest.fail("not reached")

    with pytest.raises(UsageError, match="cannot run"):
        asyncio.run(run())


def test_a_restart_counts_what_outlives_the_server_and_nobody_takes_it_for_its_end(tmp_path: Path) -> None:
    async def run() -> None:
        async with sut(tmp_path, PYTHON, "-u", "-c", CHILD) as server:
            ended = asyncio.create_task(server.ended())
            while not server.last_lines():
                await asyncio.sleep(0.05)
            first, child = server.pid, int(server.last_lines()[0])
            stopping = asyncio.create_task(server.restart())
            await asyncio.sleep(0.1)
            assert server.is_running
            await stopping
            assert (server.restarts, server.outlived) == (1, 1)
            assert server.pid != first
            assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE
            await asyncio.sleep(0.1)
            assert not ended.done()
            psutil.Process(server.pid).kill()
            async with asyncio.timeout(5):
                await ended
            assert not server.is_running

    asyncio.run(run())


def test_a_server_that_is_deaf_to_sigterm_outlives_it(tmp_path: Path) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"

    async def run() -> None:
        async with sut(tmp_path, PYTHON, "-c", deaf, stop_s=0.5) as server:
            while not server.last_lines():
                await asyncio.sleep(0.05)
            await server.restart()
            assert server.outlived == 1

    asyncio.run(run())


def test_what_a_server_prints_without_end_does_not_fill_the_disk(tmp_path: Path) -> None:
    shouts = (
        "import sys, time\n"
        "for _ in range(300):\n"
        "    sys.stdout.buffer.write((b'x' * 1023 + b'\\n') * 1024)\n"
        "print('the end', flush=True)\n"
        "time.sleep(60)\n"
    )

    async def run() -> None:
        async with sut(tmp_path, PYTHON, "-c", shouts) as server, asyncio.timeout(120):
            while server.last_lines()[-1:] != ["the end"]:
                await asyncio.sleep(0.1)
            while (tmp_path / "sut.log").stat().st_size > 65 * 1024 * 1024:
                await asyncio.sleep(0.1)
            assert server.last_lines()[-1] == "the end"

    asyncio.run(run())
