"""The whole restaurant server, in a process of its own, over real sockets."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from fakes.ledger import Ledger
from fakes.openai import OpenAIServer
from fakes.twilio import CallEnd, Pace, StreamCaller, StreamIds
from harness.call import ScriptedCall
from harness.soak import free_port
from harness.sut import Sut
from scenarios import BUILT_IN, Scenario


@asynccontextmanager
async def restaurant(tmp_path: Path, ledger: Ledger, scenario: Scenario) -> AsyncIterator[str]:
    port = free_port()
    async with OpenAIServer(scenario.model_script, ledger, speed=10.0) as model:
        environment = {**os.environ, "OPENAI_API_KEY": "k", "OPENAI_BASE_URL": model.base_url}
        command = (sys.executable, "-P", "-m", "restaurant", "--port", str(port), "--log-level", "info")
        async with Sut(command, environment, tmp_path / "sut.log") as sut:
            await sut.until_listening("127.0.0.1", port, 20.0)
            yield f"127.0.0.1:{port}"


def call(tmp_path: Path, name: str) -> tuple[CallEnd, ScriptedCall, Ledger, str, dict[str, object]]:
    async def run() -> tuple[CallEnd, ScriptedCall, Ledger, str, dict[str, object]]:
        ledger, scenario = Ledger(), BUILT_IN[name]
        async with restaurant(tmp_path, ledger, scenario) as address:
            driver = ScriptedCall(scenario, StreamIds.numbered(1), speed=10.0)
            caller = StreamCaller(f"ws://{address}/media-stream", ledger, pace=Pace(10.0))
            end = await caller.call(driver)
            async with asyncio.timeout(10), aiohttp.ClientSession() as http:
                while ledger.still_open() or not await _is_idle(http, address):
                    await asyncio.sleep(0.05)
                async with http.get(f"http://{address}/health") as response:
                    health = await response.json()
        return end, driver, ledger, (tmp_path / "sut.log").read_text(), health

    return asyncio.run(run())


def test_each_session_at_the_model_is_known_to_be_of_its_call(tmp_path: Path) -> None:
    async def run() -> list[tuple[str, bool]]:
        ledger, scenario = Ledger(), BUILT_IN["question"]
        async with restaurant(tmp_path, ledger, scenario) as address:
            caller = StreamCaller(f"ws://{address}/media-stream", ledger, pace=Pace(10.0))
            calls = [ScriptedCall(scenario, StreamIds.numbered(n), speed=10.0) for n in range(1, 9)]
            await asyncio.gather(*(caller.call(call, call.stream.ids.call_sid) for call in calls))
            async with asyncio.timeout(10):
                while ledger.still_open():
                    await asyncio.sleep(0.05)
        return [(c.call, c.certain) for c in ledger.ended("realtime")]

    assert sorted(asyncio.run(run())) == [(f"CA{n:032x}", True) for n in range(1, 9)]


async def _is_idle(http: aiohttp.ClientSession, address: str) -> bool:
    async with http.get(f"http://{address}/health") as response:
        return bool((await response.json())["active_calls"] == 0)


def test_a_call_is_answered_ordered_and_let_go(tmp_path: Path) -> None:
    end, driver, ledger, log, health = call(tmp_path, "two_burgers")
    assert end == CallEnd("caller", "hung up")
    assert driver.finished
    assert driver.problems == []
    assert driver.stream.heard_s >= 1.2
    assert "ordered [OrderItem(name='burger', quantity=2)]" in log
    assert [c.ending for c in ledger.ended("realtime")] == ["closed 1000"]
    assert [c.ending for c in ledger.ended("chat.completions")] == ["200"]
    assert health == {"status": "ok", "active_calls": 0}


def test_a_caller_who_is_dropped_leaves_nothing_open(tmp_path: Path) -> None:
    end, _, ledger, log, _ = call(tmp_path, "drop")
    assert end == CallEnd("caller", "reset")
    assert ledger.seen("realtime") == 1
    assert "Traceback" not in log


def test_the_webhook_answers_twiml_with_the_stream(tmp_path: Path) -> None:
    async def run() -> str:
        async with (
            restaurant(tmp_path, Ledger(), BUILT_IN["question"]) as address,
            aiohttp.ClientSession(headers={"Host": 'grill"<x>'}) as http,
            http.post(f"http://{address}/incoming-call") as response,
        ):
            assert response.content_type == "application/xml"
            return await response.text()

    assert "<Stream url='wss://grill\"&lt;x&gt;/media-stream' />" in asyncio.run(run())


def test_nonsense_on_the_stream_does_not_bring_the_server_down(tmp_path: Path) -> None:
    async def run() -> None:
        async with restaurant(tmp_path, Ledger(), BUILT_IN["question"]) as address, aiohttp.ClientSession() as http:
            for text in ("{", "[]", json.dumps({"event": "start"}), json.dumps({"event": "media"})):
                websocket = await http.ws_connect(f"ws://{address}/media-stream")
                await websocket.send_str(text)
                await websocket.close()
            assert await _is_idle(http, address)

    asyncio.run(run())


def test_wrong_settings_end_the_server_with_one_line(tmp_path: Path) -> None:
    async def run() -> str:
        environment = {**os.environ, "RESTAURANT_LEAKS": "water"}
        async with Sut((sys.executable, "-P", "-m", "restaurant"), environment, tmp_path / "log") as sut:
            await sut.ended()
            return sut.how_it_ended()

    assert "exited with status 1; it printed: RESTAURANT_LEAKS: expected none" in asyncio.run(run())
