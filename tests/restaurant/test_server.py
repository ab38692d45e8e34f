"""The whole restaurant server, in a process of its own, over real sockets."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from leakline.fakes.twilio import CallEnd
from leakline.harness.server.process import Sut


def test_a_call_is_answered_ordered_and_let_go(restaurant: Any) -> None:
    async def run() -> None:
        async with restaurant("two_burgers") as grill:
            end, driver = await grill.call()
            health = await grill.until_idle()
            assert end == CallEnd("caller", "hung up")
            assert driver.finished
            assert driver.problems == []
            assert driver.stream.heard_s >= 1.2
            # One by the model's function call, one read from the transcript.
            log = grill.log.read_text()
            assert log.count("OrderItem(name='burger', quantity=2)") == 2
            assert "frames_out=" in log
            assert [c.ending for c in grill.ledger.ended("realtime")] == ["closed 1000"]
            # The order is read whole. Of the other answer the first words are enough: it is broken off, with its
            # connection, unless all of it has come by then.
            endings = [c.ending for c in grill.ledger.ended("chat.completions")]
            broken_off = endings.count("dropped")
            assert (len(endings), endings.count("200") + broken_off) == (2, 2)
            assert broken_off <= 1
            assert grill.ledger.distinct_peers("chat.completions") <= 1 + broken_off  # one shared client
            assert health == {"status": "ok", "active_calls": 0, "voice_sessions": 0, "carts": 0}

    asyncio.run(run())


@pytest.mark.parametrize("scenario", ["drop", "early_hang_up", "hang_up_while_speaking"])
def test_a_caller_who_goes_early_leaves_nothing_open(restaurant: Any, scenario: str) -> None:
    async def run() -> None:
        async with restaurant(scenario) as grill:
            await grill.call()
            await grill.until_idle()
            assert "Traceback" not in grill.log.read_text()

    asyncio.run(run())


def test_a_caller_who_hangs_up_while_the_model_is_called_leaves_nothing_open(restaurant: Any) -> None:
    async def run() -> None:
        async with restaurant("early_hang_up", faults=["latency(seconds=0.3)@realtime"]) as grill:
            await grill.call()
            await asyncio.sleep(0.6)
            await grill.until_idle()
            assert "Traceback" not in grill.log.read_text()

    asyncio.run(run())


def test_calls_at_the_same_time_are_let_go_and_each_session_is_known_by_its_call(restaurant: Any) -> None:
    async def run() -> None:
        async with restaurant() as grill:
            ends = await asyncio.gather(*(grill.call(n) for n in range(1, 101)))
            assert {end for end, _ in ends} == {CallEnd("caller", "hung up")}
            await grill.until_idle()
            sessions = [(c.call, c.certain) for c in grill.ledger.ended("realtime")]
            assert sorted(sessions) == [(f"CA{n:032x}", True) for n in range(1, 101)]

    asyncio.run(run())


def test_without_the_model_a_message_is_taken_and_written_down(restaurant: Any) -> None:
    async def run() -> None:
        async with restaurant("hang_up_while_speaking", faults=["status(code=503)@realtime"]) as grill:
            _, driver = await grill.call()
            await grill.until_idle()
            assert driver.failure == "heard nothing in step 3 (Listen)"
            assert [c.ending for c in grill.ledger.ended("audio.transcriptions")] == ["200"]
            assert "the model cannot be reached, a message is taken" in grill.log.read_text()

    asyncio.run(run())


def test_a_message_that_cannot_be_transcribed_is_logged(restaurant: Any) -> None:
    async def run() -> None:
        faults = ["status(code=503)@realtime", "reset@audio.transcriptions"]
        async with restaurant("hang_up_while_speaking", faults=faults) as grill:
            await grill.call()
            assert (await grill.until_idle())["carts"] == 0
            assert "no order could be read" in grill.log.read_text()

    asyncio.run(run())


def test_a_model_that_breaks_off_is_called_again_but_not_for_ever(restaurant: Any) -> None:
    async def run() -> None:
        async with restaurant(faults=["reset@realtime/response.done"]) as grill:
            await grill.call()
            await grill.until_idle()
            assert 1 <= grill.ledger.seen("realtime") <= 3
            assert "the model's connection broke" in grill.log.read_text()

    asyncio.run(run())


def test_one_call_too_many_is_refused_and_the_others_go_on(restaurant: Any) -> None:
    async def run() -> None:
        async with restaurant(RESTAURANT_MAX_CALLS="2") as grill:
            ends = await asyncio.gather(*(grill.call(n) for n in range(1, 4)))
            assert sorted(end.detail for end, _ in ends) == ["closed 1013", "hung up", "hung up"]
            await grill.until_idle()

    asyncio.run(run())


def test_the_webhook_answers_twiml_with_the_stream(restaurant: Any) -> None:
    async def run() -> str:
        async with (
            restaurant() as grill,
            aiohttp.ClientSession(headers={"Host": 'grill"<x>'}) as http,
            http.post(f"http://{grill.address}/incoming-call") as response,
        ):
            assert response.content_type == "application/xml"
            return await response.text()

    assert "<Stream url='wss://grill\"&lt;x&gt;/media-stream' />" in asyncio.run(run())


def test_nonsense_on_the_stream_does_not_bring_the_server_down(restaurant: Any) -> None:
    async def run() -> None:
        async with restaurant() as grill, aiohttp.ClientSession() as http:
            for text in ("{", "[]", json.dumps({"event": "start"}), json.dumps({"event": "media"})):
                websocket = await http.ws_connect(f"ws://{grill.address}/media-stream")
                await websocket.send_str(text)
                await websocket.close()
            await grill.until_idle()

    asyncio.run(run())


def test_sigterm_in_mid_call_ends_the_call_and_the_server(restaurant: Any) -> None:
    async def run() -> None:
        async with restaurant("two_burgers") as grill:
            call = asyncio.create_task(grill.call())
            while not grill.ledger.still_open("realtime"):
                await asyncio.sleep(0.01)
        end, _ = await call  # the server has been sent SIGTERM by now
        assert end.kind == "server"
        assert not grill.ledger.still_open()
        log = grill.log.read_text()
        assert "Application shutdown complete" in log
        assert "Traceback" not in log

    asyncio.run(run())


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("RESTAURANT_LEAKS", "water", "RESTAURANT_LEAKS: expected none"),
        ("RESTAURANT_MAX_CALLS", "-1", "RESTAURANT_MAX_CALLS: expected a whole number, found '-1'"),
    ],
)
def test_wrong_settings_end_the_server_with_one_line(tmp_path: Path, name: str, value: str, says: str) -> None:
    async def run() -> str:
        environment = {**os.environ, name: value}
        async with Sut((sys.executable, "-P", "-m", "leakline.restaurant"), environment, tmp_path / "log") as sut:
            await sut.ended()
            return sut.how_it_ended()

    assert f"exited with status 1; it printed: {says}" in asyncio.run(run())
