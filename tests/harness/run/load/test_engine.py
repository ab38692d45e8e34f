"""The engine against a real WebSocket server, from another thread."""

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import ServerConnection, serve

from leakline.fakes.background import Background
from leakline.harness.run.load.engine import CallOutcome, Engine
from leakline.scenarios import Pause, Scenario

QUIET = Scenario("quiet", Pause(0.2))
LONG = Scenario("long", Pause(60.0))


def start(run: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=run)
    thread.start()
    threads.append(thread)
    return thread


threads: list[threading.Thread] = []


@pytest.fixture
def server() -> Iterator[str]:
    async def listen(connection: ServerConnection) -> None:
        async for _ in connection:
            pass

    @asynccontextmanager
    async def running() -> AsyncIterator[str]:
        async with serve(listen, "127.0.0.1", 0) as listening:
            yield f"ws://127.0.0.1:{next(iter(listening.sockets)).getsockname()[1]}/"

    with Background(running) as background:
        yield background.value


@pytest.fixture
def engine() -> Iterator[Engine]:
    threads.clear()
    with Engine(speed=10.0, start_thread=start) as engine:
        yield engine
    threads[0].join(10)
    assert not threads[0].is_alive()


def test_the_callers_own_faults_strike_and_the_models_are_not_theirs(engine: Engine, server: str) -> None:
    ended: queue.Queue[CallOutcome] = queue.Queue()
    reset = Scenario("reset", Pause(60.0), faults=("reset@media-stream/media x1", "status(code=503)@realtime"))
    engine.place(server, reset, ended.put)
    engine.place(server, QUIET, ended.put)
    details = [o.result.end.detail for o in (ended.get(timeout=20), ended.get(timeout=20)) if o.result is not None]
    assert sorted(details) == ["fault reset", "hung up"]


def test_calls_from_another_thread_come_to_their_end(engine: Engine, server: str) -> None:
    ended: queue.Queue[CallOutcome] = queue.Queue()
    for _ in range(30):
        engine.place(server, QUIET, ended.put)
    outcomes = [ended.get(timeout=20) for _ in range(30)]
    assert all(o.result is not None and not o.result.failure and not o.error for o in outcomes)
    carried = [o.result.end.stats for o in outcomes if o.result is not None]
    assert all(c.open_s is not None and c.close_s is not None and c.sent_bytes > 1000 for c in carried)
    late = engine.take_lateness()
    assert len(late) >= 30 * 9
    assert len(engine.take_lateness()) == 0


def test_a_call_is_hung_up_from_another_thread(engine: Engine, server: str) -> None:
    ended: queue.Queue[CallOutcome] = queue.Queue()
    engine.place(server, LONG, ended.put).hang_up()
    assert ended.get(timeout=20).result is None


def test_a_server_that_is_not_there_fails_the_call_and_nothing_else(engine: Engine, server: str) -> None:
    ended: queue.Queue[CallOutcome] = queue.Queue()
    engine.place("ws://127.0.0.1:1/", QUIET, ended.put)
    outcome = ended.get(timeout=20)
    assert outcome.result is not None
    assert outcome.result.failure == "refused: connection refused"
    engine.place(server, QUIET, ended.put)
    second = ended.get(timeout=20)
    assert second.result is not None
    assert not second.result.failure


def test_what_still_talks_at_the_end_is_hung_up(server: str) -> None:
    ended: queue.Queue[CallOutcome] = queue.Queue()
    threads.clear()
    with Engine(start_thread=start) as engine:
        engine.place(server, LONG, ended.put)
        asyncio.run(asyncio.sleep(0.3))
    assert ended.get(timeout=20).result is None
    threads[0].join(10)
