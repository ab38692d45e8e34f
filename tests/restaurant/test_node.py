"""The restaurant in Node, in a process of its own, and the leaks that it has by the names of the one in Python."""

import asyncio
import signal
import subprocess
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from leakline import demo
from leakline.harness.data.errors import UsageError
from leakline.harness.data.model import RunResult
from leakline.harness.run.settings import SoakSettings
from leakline.harness.run.soak import soak
from leakline.harness.server.ports import free_port, is_listening
from leakline.reports.text import in_full
from leakline.restaurant.leaks import Leak

MISSING_HERE = {
    *("whole_recordings", "cache_polling", "silent_errors", "refused_calls", "unawaited_close", "native_buffers"),
}


def test_a_call_is_answered_ordered_and_let_go(restaurant_in_node: Any) -> None:
    async def run() -> None:
        async with restaurant_in_node("two_burgers", RESTAURANT_VERBOSE="1") as grill:
            _, driver = await grill.call()
            health = await grill.until_idle()
            assert driver.finished
            assert driver.problems == []
            assert 'ordered [{"item":"burger","quantity":2},{"name":"burger","quantity":2}]' in grill.log.read_text()
            assert [c.ending for c in grill.ledger.ended("chat.completions")] == ["200"]
            assert health == {"status": "ok", "active_calls": 0, "voice_sessions": 0, "carts": 0}

    asyncio.run(run())


@pytest.mark.parametrize(
    ("scenario", "faults"),
    [
        ("drop", []),
        ("hang_up_while_speaking", []),
        ("early_hang_up", []),
        ("early_hang_up", ["latency(seconds=0.3)@realtime"]),
        ("voicemail", ["status(code=503)@realtime", "reset@audio.transcriptions"]),
    ],
)
def test_a_call_that_goes_another_way_leaves_nothing_open(
    restaurant_in_node: Any, scenario: str, faults: list[str]
) -> None:
    async def run() -> None:
        async with restaurant_in_node(scenario, faults=faults) as grill:
            await grill.call()
            await asyncio.sleep(0.5 if faults else 0)
            await grill.until_idle()

    asyncio.run(run())


def test_many_calls_at_once_and_one_too_many(restaurant_in_node: Any) -> None:
    async def run() -> None:
        # Long enough that on a busy machine the first is not over when the last one comes.
        async with restaurant_in_node("long_call", RESTAURANT_MAX_CALLS="40") as grill:
            ends = await asyncio.gather(*(grill.call(number) for number in range(1, 42)))
            await grill.until_idle()
            assert [driver.finished for _, driver in ends].count(False) == 1
            assert "a call is refused: 40 are under way" in grill.log.read_text()

    asyncio.run(run())


def test_the_webhook_escapes_what_it_is_given(restaurant_in_node: Any) -> None:
    async def run() -> None:
        async with restaurant_in_node() as grill, aiohttp.ClientSession() as http:
            headers = {"Host": 'grill.example"><Say>x</Say>'}
            async with http.post(f"http://{grill.address}/incoming-call", headers=headers) as response:
                assert "<Say>" not in await response.text()

    asyncio.run(run())


def test_it_shuts_down_in_order_on_sigterm(restaurant_node: Path) -> None:
    port = free_port()

    async def listens() -> None:
        async with asyncio.timeout(20):
            while not await is_listening("127.0.0.1", port):
                await asyncio.sleep(0.05)

    with subprocess.Popen(["node", str(restaurant_node / "server.mjs"), "--port", str(port)]) as process:
        try:
            asyncio.run(listens())
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()


def test_its_leaks_have_the_names_of_the_one_in_python(restaurant_node: Path) -> None:
    for leak in Leak:
        if leak in MISSING_HERE:
            with pytest.raises(UsageError, match=f"--leaks: expected none, all, or of .*; found '{leak}'"):
                demo.given(leak, {}, "node")
        else:
            assert demo.given(leak, {}, "node")["env"]["RESTAURANT_LEAKS"] == leak


def run_soak(leak: str, tmp_path: Path, cycles: int = 32) -> RunResult:
    given = {"cycles": cycles, "settle": 1.0, "runs": str(tmp_path)}
    return asyncio.run(soak(SoakSettings(**demo.given(leak, given, "node"))))


@pytest.mark.parametrize(
    ("leak", "resource", "per_call", "function"),
    [
        ("websocket_listeners", "listeners", 5.0, "CallSession.listen"),  # and when attached: test_attached.py
        ("handshake_sockets", "connections", 1.0, "RealtimeAdapter.connect"),
        ("upload_streams", "fds", 1.0, "Services.transcribe"),
    ],
)
@pytest.mark.thorough
def test_a_leak_alone_is_found_where_it_is_made(
    restaurant_node: Path, tmp_path: Path, leak: str, resource: str, per_call: float, function: str
) -> None:
    result = run_soak(leak, tmp_path)
    (found,) = result.findings
    assert str(found.resource) == resource, in_full(result)
    assert found.per_cycle == pytest.approx(per_call, rel=0.05)
    assert found.site is not None
    assert found.site.function == function, in_full(result)
    assert "resourceTimingBuffer" not in "".join(found.kept_in)  # Node's own, of each fetch


@pytest.mark.thorough
def test_what_is_only_kept_is_named_by_what_keeps_it(restaurant_node: Path, tmp_path: Path) -> None:
    result = run_soak("unbounded_carts", tmp_path)
    (found,) = result.findings
    assert found.resource == "objects", in_full(result)
    assert found.kept_in == ("Carts.carts (+1.00 a call)",), in_full(result)


def test_the_sound_server_is_clean(restaurant_node: Path, tmp_path: Path) -> None:
    result = run_soak("none", tmp_path)
    assert result.state == "clean", in_full(result)
    assert not result.unmeasured
