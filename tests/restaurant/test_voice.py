"""The WebSocket for browsers, over real sockets."""

import asyncio
import io
import json
from typing import Any

import av
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from leakline.fakes.audio import speech
from leakline.fakes.twilio import Pace
from leakline.harness.drive.telephone import Telephone
from leakline.scenarios import BUILT_IN


async def answered(address: str) -> list[Any]:
    """One recording of half a second, and the three messages that answer it."""
    async with connect(f"ws://{address}/voice", max_size=None) as browser:
        await browser.send(json.dumps({"type": "start"}))
        for _ in range(5):
            await browser.send(speech(0.1))
        await browser.send(json.dumps({"type": "stop"}))
        return [await browser.recv() for _ in range(3)]


def test_a_guest_is_answered_in_writing_and_aloud(restaurant: Any) -> None:
    async def run() -> None:
        async with restaurant("two_burgers") as grill:
            transcript, reply, audio = await answered(grill.address)
            assert json.loads(transcript)["type"] == "transcript"
            assert "burger" in json.loads(reply)["text"]
            with av.open(io.BytesIO(audio)) as spoken:
                assert spoken.streams.audio[0].codec_context.sample_rate == 24_000
            await grill.until_idle()
            for kind in ("audio.transcriptions", "chat.completions", "audio.speech"):
                assert [c.ending for c in grill.ledger.ended(kind)] == ["200"]

    asyncio.run(run())


@pytest.mark.parametrize("name", ["browser_session", "transcription_interrupted"])
def test_the_built_in_scenarios_of_a_browser_are_played_to_their_end(restaurant: Any, name: str) -> None:
    async def run() -> None:
        scenario = BUILT_IN[name]
        async with restaurant(name, faults=scenario.faults) as grill:
            telephone = Telephone(grill.ledger, pace=Pace(10.0))
            result = await telephone.call(f"http://{grill.address}/incoming-call", scenario)
            assert result.failure == ""
            (session,) = grill.ledger.ended("browser")
            assert session.ending == "caller hung up"
            # What the fault spares is spoken, what it strikes is answered with an apology.
            assert (result.heard_s > 1.0) is (not scenario.faults)
            await grill.until_idle()

    asyncio.run(run())


def test_a_hundred_guests_at_a_time_are_answered_and_gone_after(restaurant: Any) -> None:
    async def run() -> None:
        async with restaurant("two_burgers") as grill:
            answers = await asyncio.gather(*(answered(grill.address) for _ in range(100)))
            assert all(len(answer) == 3 for answer in answers)
            await grill.until_idle()

    asyncio.run(run())


def test_pings_nonsense_and_a_failing_model_leave_the_session_open(restaurant: Any) -> None:
    async def run() -> list[Any]:
        async with (
            restaurant(faults=["status(code=500)@audio.transcriptions"]) as grill,
            connect(f"ws://{grill.address}/voice") as browser,
        ):
            said: list[str | bytes] = [
                *("{", "[]", json.dumps({"type": "dance"})),
                json.dumps({"type": "start"}),
                speech(0.1),
                *(json.dumps({"type": "stop"}), json.dumps({"type": "ping"})),
            ]
            for message in said:
                await browser.send(message)
            return [json.loads(await browser.recv()) for _ in range(5)]

    got = asyncio.run(run())
    assert [message["type"] for message in got] == ["error", "error", "error", "error", "pong"]
    assert got[2]["message"] == "expected start, stop or ping, found 'dance'"
    assert got[3]["message"] == "the model cannot be reached"


def test_a_session_that_is_silent_for_too_long_is_closed(restaurant: Any) -> None:
    async def run() -> None:
        async with (
            restaurant(RESTAURANT_IDLE_VOICE_S="1") as grill,
            connect(f"ws://{grill.address}/voice") as browser,
        ):
            with pytest.raises(ConnectionClosed) as closed:
                await browser.recv()
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1001, "inactive")
            await grill.until_idle()

    asyncio.run(run())
