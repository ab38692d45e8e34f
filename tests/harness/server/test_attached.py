"""Servers that somebody else has started: measured where they stand, and left running."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import restaurant
from leakline.harness.data.errors import UsageError
from leakline.harness.data.model import RunResult
from leakline.harness.run.settings import SoakSettings
from leakline.harness.run.soak import soak
from leakline.harness.server.ports import free_port, is_listening
from leakline.reports.text import in_full


@contextmanager
def running(*command: str, port: int) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A restaurant with a leak, configured for a model at a port where the fake will be."""
    model_port = free_port()
    environment = {
        **os.environ,
        "OPENAI_API_KEY": "sk-any",
        "OPENAI_BASE_URL": f"http://127.0.0.1:{model_port}/v1",
        "RESTAURANT_LEAKS": "websocket_listeners",
    }
    with subprocess.Popen([*command, "--port", str(port)], env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            yield process, model_port
        finally:
            process.kill()


async def until_listening(port: int) -> None:
    async with asyncio.timeout(20):
        while not await is_listening("127.0.0.1", port):
            await asyncio.sleep(0.05)


async def attached(pid: int, port: int, model_port: int, runs: Path) -> RunResult:
    await until_listening(port)
    return await soak(
        SoakSettings(
            pid=pid,
            openai_port=model_port,
            url=f"ws://127.0.0.1:{port}/media-stream",
            scenario="two_burgers",
            cycles=24,
            warmup=6,
            concurrency=3,
            settle=0.5,
            code=(str(Path(restaurant.__file__).parent),),
            runs=str(runs),
        )
    )


def test_an_agent_is_brought_into_a_node_server(restaurant_node: Path, tmp_path: Path) -> None:
    port = free_port()
    with running("node", str(restaurant_node / "server.mjs"), port=port) as (process, model_port):
        result = asyncio.run(attached(process.pid, port, model_port, tmp_path))
        assert process.poll() is None  # it is not ours to stop
    (found,) = (f for f in result.findings if f.resource == "listeners")
    assert found.per_cycle == pytest.approx(5.0)
    assert found.site is not None
    assert found.site.function == "CallSession.listen", in_full(result)


@pytest.mark.skipif(sys.version_info < (3, 14), reason="CPython lets an agent in from 3.14 on")
def test_an_agent_is_brought_into_a_python_server(tmp_path: Path) -> None:
    port = free_port()
    with running(sys.executable, "-P", "-m", "leakline.restaurant", port=port) as (process, model_port):
        result = asyncio.run(attached(process.pid, port, model_port, tmp_path))
        assert process.poll() is None
    (found,) = (f for f in result.findings if f.resource == "listeners")
    assert found.per_cycle == pytest.approx(5.0)
    assert found.site is not None
    assert found.site.function == "CallSession._listen", in_full(result)


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="here an agent can be brought into Python")
def test_a_python_server_is_measured_from_outside_and_the_result_says_why(tmp_path: Path) -> None:
    port = free_port()
    with running(sys.executable, "-P", "-m", "leakline.restaurant", port=port) as (process, model_port):
        result = asyncio.run(attached(process.pid, port, model_port, tmp_path))
        assert process.poll() is None
    assert "that needs CPython 3.14 or newer" in result.notes[0]
    assert {g.resource for g in result.growths} >= {"connections", "sockets", "fds", "rss"}
    assert "timers" in result.unmeasured


def test_a_process_that_is_not_there_is_refused(tmp_path: Path) -> None:
    port = free_port()
    wrong = pytest.raises(UsageError, match="pid: expected a process that runs, found 999999999")
    with running(sys.executable, "-P", "-m", "leakline.restaurant", port=port) as (_, model_port), wrong:
        asyncio.run(attached(999_999_999, port, model_port, tmp_path))
