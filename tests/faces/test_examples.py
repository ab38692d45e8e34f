"""The tutorial's servers do what it says."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from leakline.fakes.ledger import Connection
from leakline.harness.data.model import RunResult
from leakline.harness.drive.telephone import CallResult, running
from leakline.harness.run.settings import SoakSettings
from leakline.harness.run.soak import soak
from leakline.harness.server.ports import free_port
from leakline.harness.server.process import Sut
from leakline.reports.text import in_full
from leakline.scenarios import BUILT_IN, Scenario

EXAMPLES = Path(__file__).parents[2] / "examples"


def soaked(name: str, scenario: str, runs: Path) -> RunResult:
    settings = SoakSettings(
        sut=f"{sys.executable} {EXAMPLES / name} {{port}}",
        url="ws://127.0.0.1:{port}/",
        scenario=scenario,
        cycles=48,
        runs=str(runs),
    )
    return asyncio.run(soak(settings))


def test_the_server_is_clean_until_a_caller_is_dropped(tmp_path: Path) -> None:
    assert soaked("server.py", "question", tmp_path).state == "clean"
    dropped = soaked("server.py", "drop", tmp_path)
    (found,) = dropped.findings
    assert found.resource == "connections"
    assert found.site is not None
    assert found.site.text.startswith("model = await websockets.connect("), in_full(dropped)


def test_the_mended_one_is_clean_then_too(tmp_path: Path) -> None:
    assert soaked("server_fixed.py", "drop", tmp_path).state == "clean"


@pytest.mark.parametrize(
    ("name", "failure", "ending"),
    [
        ("question", "", "closed 1000"),
        ("voicemail", "", "closed 1000"),
        ("long_call", "", "closed 1000"),
        ("dtmf", "", "closed 1000"),
        ("silence", "", "closed 1000"),
        ("barge_in", "", "closed 1000"),
        ("early_hang_up", "", "closed 1000"),
        ("hang_up_in_handshake", "", "closed 1000"),
        ("hang_up_while_speaking", "", "closed 1000"),
        ("drop", "", "closed 1000"),
        ("transfer", "", "closed 1000"),
        ("slow_network", "", "closed 1000"),
        ("half_open_caller", "", "closed 1000"),
        ("reconnect_storm", "", "closed 1000"),
        ("capacity_refusal", "", "closed 1000"),
        ("model_refuses", "the server closed 1011", "503"),
        ("model_at_its_limit", "the server closed 1011", "429"),
        ("model_error", "", "closed 1000"),
        ("model_closes", "the server closed 1011", "ended by a fault"),
        ("model_drops", "the server closed 1011", "ended by a fault"),
        ("model_never_answers", "", "closed 1000"),
        ("session_expires", "the server closed 1011", "ended by a fault"),
    ],
)
def test_each_scenario_happens_to_a_server(name: str, failure: str, ending: str, tmp_path: Path) -> None:
    placed, connections = asyncio.run(_called(BUILT_IN[name], tmp_path))
    assert placed.failure.startswith(failure) if failure else placed.failure == ""
    assert connections
    assert connections[0].ending.removeprefix("refused ") == ending


async def _called(scenario: Scenario, folder: Path) -> tuple[CallResult, tuple[Connection, ...]]:
    port = free_port()
    command = (sys.executable, str(EXAMPLES / "server_fixed.py"), str(port))
    async with running(scenario, speed=10.0) as fakes:
        async with Sut(command, {**os.environ, **fakes.environment}, folder / "log") as server:
            await server.until_listening("127.0.0.1", port, 20.0)
            placed = await fakes.telephone.call(f"ws://127.0.0.1:{port}/", scenario)
            async with asyncio.timeout(10):
                while not fakes.ledger.ended("realtime"):
                    await asyncio.sleep(0.05)
        return placed, fakes.ledger.ended("realtime")


DEAF_AT_FIRST = """
calls = 0


async def on_call(caller):
    global calls
    calls += 1
    deaf = calls <= 2
    try:
        async with asyncio.timeout(0.5 if deaf else 0):
            async for _ in caller:
                pass
    except TimeoutError:
        pass
"""


def test_a_server_that_is_slow_at_first_gets_a_second_chance(tmp_path: Path) -> None:
    text = (EXAMPLES / "server_fixed.py").read_text()
    text = text.replace("async def on_call(caller):\n", DEAF_AT_FIRST, 1)
    server = tmp_path / "server.py"
    server.write_text(text)
    settings = SoakSettings(
        sut=f"{sys.executable} {server} {{port}}",
        url="ws://127.0.0.1:{port}/",
        cycles=16,
        warmup=8,
        concurrency=4,
        runs=str(tmp_path / "runs"),
    )
    result = asyncio.run(soak(settings))
    again = result.calls.made_again  # of the first batch that it was deaf to: it took those calls too
    assert 0 < again == result.calls.failed, in_full(result)
    assert result.state == "clean", in_full(result)
    assert f"{again} calls failed, a whole batch at a time, and were made again" in " ".join(result.notes)
