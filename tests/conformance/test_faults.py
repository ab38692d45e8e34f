"""Each fault, met by an official client or a plain WebSocket client over real sockets; the server stays up after."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import openai
import pytest
from openai.types.realtime import RealtimeErrorEvent
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from leakline.fakes.faults import (
    BlackHole,
    Close,
    Cut,
    Error,
    ExpireSession,
    Fault,
    FaultPlan,
    HalfOpen,
    Latency,
    Malformed,
    Oversize,
    Refuse,
    Reset,
    Rule,
    SlowRead,
    Status,
)
from leakline.fakes.ledger import Ledger
from leakline.fakes.openai import ModelScript, OpenAIServer, Turn

Use = Callable[..., Any]
ASK: list[Any] = [{"role": "user", "content": "Hello"}]


async def chat(client: openai.AsyncOpenAI, _: Ledger | None = None) -> str | None:
    done = await client.chat.completions.create(model="m", messages=ASK)
    return done.choices[0].message.content


async def streamed(client: openai.AsyncOpenAI, _: Ledger | None = None) -> list[Any]:
    stream = await client.chat.completions.create(model="m", messages=ASK, stream=True)
    return [chunk async for chunk in stream]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
def test_a_status_is_the_sdks_error(use: Use, code: int, error: type[openai.APIStatusError]) -> None:
    async def work(client: openai.AsyncOpenAI, _: Ledger) -> str:
        with pytest.raises(error) as raised:
            await chat(client)
        assert raised.value.status_code == code
        return raised.value.message

    assert use(work, Rule(Status(code)))


def test_a_client_that_retries_waits_as_long_as_it_is_told_and_succeeds(use: Use) -> None:
    async def work(client: openai.AsyncOpenAI, ledger: Ledger) -> tuple[float, list[str]]:
        began = time.monotonic()
        assert await chat(client)
        return time.monotonic() - began, [c.ending for c in ledger.ended("chat.completions")]

    waited, endings = use(work, Rule(Status(429, retry_after_s=0.7), times=1), retries=2)
    assert endings == ["429", "200"]
    assert 0.7 <= waited < 3


@pytest.mark.parametrize(
    ("fault", "at", "ask", "error"),
    [
        (Malformed(), "response", chat, json.JSONDecodeError),
        (Malformed(), "chunk", streamed, json.JSONDecodeError),
        (Cut(), "response", chat, openai.APIConnectionError),
        (Cut(), "chunk", streamed, openai.APIConnectionError),
        (Reset(), "request", chat, openai.APIConnectionError),
        (Reset(), "chunk", streamed, openai.APIConnectionError),
        (BlackHole(), "request", chat, openai.APITimeoutError),
        (HalfOpen(), "request", chat, openai.APITimeoutError),
    ],
)
def test_broken_answers_are_seen_as_such_and_the_next_is_whole(
    use: Use, fault: Fault, at: str, ask: Callable[..., Awaitable[Any]], error: type[Exception]
) -> None:
    async def work(client: openai.AsyncOpenAI, ledger: Ledger) -> None:
        with pytest.raises(error):
            await ask(client.with_options(timeout=0.5))
        assert await ask(client)
        async with asyncio.timeout(5):
            while ledger.still_open() and not isinstance(fault, HalfOpen):
                await asyncio.sleep(0.02)

    use(work, Rule(fault, at=at, times=1))


def test_latency_delays_the_answer(use: Use) -> None:
    async def work(client: openai.AsyncOpenAI, _: Ledger) -> float:
        began = time.monotonic()
        assert await chat(client)
        return time.monotonic() - began

    assert use(work, Rule(Latency(0.4))) >= 0.4


def test_a_port_that_refuses_comes_back(use: Use) -> None:
    async def work(client: openai.AsyncOpenAI, _: Ledger) -> None:
        for _attempt in range(2):  # reset, then refused
            with pytest.raises(openai.APIConnectionError):
                await chat(client)
        await asyncio.sleep(0.5)
        assert await chat(client)

    use(work, Rule(Refuse(0.3), times=1))


# -- the Realtime WebSocket

SCRIPT = ModelScript(turns=(Turn("Hello.", seconds=0.2),))


def session(work: Callable[[Callable[[], connect]], Awaitable[Any]], *rules: Rule) -> tuple[Any, Ledger]:
    async def main() -> tuple[Any, Ledger]:
        ledger = Ledger()
        async with OpenAIServer(SCRIPT, ledger, speed=20.0, faults=FaultPlan(rules)) as server:

            def dial() -> connect:
                return connect(server.realtime_url, additional_headers={"Authorization": "Bearer k"})

            async with asyncio.timeout(15):
                return await work(dial), ledger

    return asyncio.run(main())


async def heard(connection: ClientConnection, until: str = "response.done") -> list[str]:
    """The types of the events up to `until`, or to the end of the connection."""
    await connection.send('{"type": "response.create"}')
    kinds = []
    async for message in connection:
        kinds.append(json.loads(message)["type"])
        if kinds[-1] == until:
            break
    return kinds


async def ending(connection: ClientConnection, kinds: list[str]) -> ConnectionClosed:
    """How the connection ends after a response is asked for; `kinds` gets the types of the events before."""
    await connection.send('{"type": "response.create"}')
    while True:
        try:
            kinds.append(json.loads(await connection.recv())["type"])
        except ConnectionClosed as closed:
            return closed


async def whole(dial: Callable[[], connect]) -> None:
    async with dial() as connection:
        assert (await heard(connection))[-1] == "response.done"


def test_a_handshake_can_be_refused_and_slow() -> None:
    async def work(dial: Callable[[], connect]) -> float:
        with pytest.raises(InvalidStatus) as refused:
            await dial()
        assert refused.value.response.status_code == 503
        began = time.monotonic()
        await whole(dial)
        return time.monotonic() - began

    took, ledger = session(
        work, Rule(Status(503), on="realtime", times=1), Rule(Latency(0.4), on="realtime", nth=frozenset({1}))
    )
    assert took >= 0.4
    assert next(c.ending for c in ledger.ended("realtime")) == "refused 503"


@pytest.mark.parametrize(
    ("fault", "code"),
    [(Close(4008, "bye"), 4008), (Close(), 1011), (ExpireSession(), 1001), (Oversize(), 1009)],
)
def test_a_session_ends_with_the_code_of_its_fault(fault: Fault, code: int) -> None:
    async def work(dial: Callable[[], connect]) -> tuple[int | None, list[str]]:
        connection = await dial()
        kinds: list[str] = []
        closed = await ending(connection, kinds)
        await whole(dial)
        frame = closed.sent if code == 1009 else closed.rcvd
        return frame.code if frame else None, kinds

    (found, kinds), _ = session(work, Rule(fault, on="realtime", at="response.done", times=1))
    assert found == code
    assert "response.done" not in kinds
    assert ("error" in kinds) is isinstance(fault, ExpireSession)


def test_an_error_in_mid_turn_leaves_the_session_and_the_turn_going() -> None:
    async def work(dial: Callable[[], connect]) -> list[dict[str, Any]]:
        connection = await dial()
        await connection.send(json.dumps({"type": "response.create"}))
        events: list[dict[str, Any]] = []
        while not events or events[-1]["type"] != "response.done":
            events.append(json.loads(await connection.recv()))
        await connection.close()
        return events

    events, ledger = session(work, Rule(Error(code="x"), on="realtime", at="response.content_part.added"))
    kinds = [event["type"] for event in events]
    error = RealtimeErrorEvent.model_validate(events[kinds.index("error")], strict=True).error
    assert (error.type, error.code) == ("server_error", "x")
    assert kinds[kinds.index("error") + 1] == "response.content_part.added"
    assert ledger.ended("realtime")[0].ending == "closed 1000"


def test_a_session_can_be_reset_in_mid_turn() -> None:
    async def work(dial: Callable[[], connect]) -> object:
        connection = await dial()
        closed = await ending(connection, [])
        await whole(dial)
        return closed.rcvd

    frame, ledger = session(work, Rule(Reset(), on="realtime", at="response.output_audio.delta", times=1))
    assert frame is None
    assert ledger.ended("realtime")[0].ending == "ended by a fault"


@pytest.mark.parametrize("fault", [BlackHole(), HalfOpen()])
def test_a_session_can_fall_silent_and_stay(fault: Fault) -> None:
    async def work(dial: Callable[[], connect]) -> None:
        connection = await dial()
        assert json.loads(await connection.recv())["type"] == "session.created"
        await connection.send('{"type": "response.create"}')
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await connection.recv()
        connection.transport.abort()
        await whole(dial)

    session(work, Rule(fault, on="realtime", at="response.created", times=1))


def test_a_black_hole_still_closes_with_its_client_and_a_half_open_peer_does_not() -> None:
    async def work(dial: Callable[[], connect]) -> float:
        connection = await dial()
        await connection.recv()
        await connection.send('{"type": "response.create"}')
        await asyncio.sleep(0.2)
        connection.close_timeout = 0.5
        began = time.monotonic()
        await connection.close()
        return time.monotonic() - began

    black, _ = session(work, Rule(BlackHole(), on="realtime", at="response.created"))
    half, _ = session(work, Rule(HalfOpen(), on="realtime", at="response.created"))
    assert black < 0.4
    assert half >= 0.5


def test_a_ping_is_answered_in_mid_turn() -> None:
    async def work(dial: Callable[[], connect]) -> float:
        async with dial() as connection:
            await connection.send('{"type": "response.create"}')
            return await (await connection.ping())

    delay, _ = session(work)
    assert delay >= 0


def test_one_event_can_be_garbled() -> None:
    async def work(dial: Callable[[], connect]) -> list[str]:
        async with dial() as connection:
            await connection.send('{"type": "response.create"}')
            wrong = []
            async for message in connection:
                try:
                    kind = json.loads(message)["type"]
                except ValueError:
                    wrong.append(str(message))
                    continue
                if kind == "response.done":
                    break
            return wrong

    (garbled,), _ = session(work, Rule(Malformed(), on="realtime", at="response.created", times=1))
    assert garbled.startswith('{"type":"response.created"')


def test_a_server_that_reads_slowly_makes_its_client_wait() -> None:
    async def work(dial: Callable[[], connect]) -> float:
        async with dial() as connection:
            await connection.recv()
            began = time.monotonic()
            for _ in range(150):
                await connection.send('{"type": "input_audio_buffer.append", "audio": "' + "A" * 400_000 + '"}')
            return time.monotonic() - began

    slow, _ = session(work, Rule(SlowRead(2.0), on="realtime", at="open"))
    assert slow >= 1.5
