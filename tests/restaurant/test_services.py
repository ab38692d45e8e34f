"""The restaurant's parts, each by itself; the model's services in front of the fake OpenAI."""

import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import av
import openai
import psutil
import pytest

from leakline.fakes.audio import speech
from leakline.fakes.faults import FaultPlan, parse_rule
from leakline.fakes.ledger import Ledger
from leakline.fakes.openai import ModelScript, OpenAIServer
from leakline.restaurant.container import Container, StandIn
from leakline.restaurant.files import to_stream, wav
from leakline.restaurant.intervals import Interval
from leakline.restaurant.leaks import Leak
from leakline.restaurant.menu import Carts, MenuTools, OrderItem
from leakline.restaurant.native import NativeBuffer
from leakline.restaurant.orders import items_of
from leakline.restaurant.recordings import AIService, Recording
from leakline.restaurant.retries import with_retry
from leakline.restaurant.settings import Settings

T = TypeVar("T")

BURGERS = '{"items": [{"name": "burger", "quantity": 2}]}'
SCRIPT = ModelScript(turns=(), hears=("Two burgers, please.",), chat=(BURGERS,), first_byte_s=0.0)


def use(
    work: Callable[[Container, Ledger], Awaitable[T]], *, faults: Iterable[str] = (), leaks: Iterable[Leak] = ()
) -> T:
    """What `work` gives with a container whose model is the fake."""

    async def run() -> T:
        ledger, plan = Ledger(), FaultPlan([parse_rule(rule) for rule in faults])
        async with OpenAIServer(SCRIPT, ledger, faults=plan) as model:
            container = Container(Settings(api_key="k", base_url=model.base_url, leaks=frozenset(leaks)))
            try:
                return await work(container, ledger)
            finally:
                await container.close()

    return asyncio.run(run())


def test_all_services_share_one_client_and_its_connection() -> None:
    async def work(container: Container, ledger: Ledger) -> None:
        assert container.client() is container.client()
        assert await container.transcriber.transcribe(speech(0.2)) == "Two burgers, please."
        assert await container.chat.reply("Two burgers") == BURGERS
        assert await container.orders.read("Two burgers") == (OrderItem("burger", 2),)
        assert (await container.speech.speak("Two burgers"))[:4] == b"RIFF"
        assert len({c.peer for c in ledger.ended()}) == 1

    use(work)


def test_with_its_leak_each_use_has_a_client_of_its_own() -> None:
    async def work(container: Container, _: Ledger) -> None:
        assert container.client() is not container.client()

    use(work, leaks=[Leak.DUPLICATE_CLIENTS])


def test_a_closed_container_has_closed_its_client_and_can_make_another() -> None:
    async def work(container: Container, _: Ledger) -> None:
        first = container.client()
        await container.close()
        assert first.is_closed()
        assert container.client() is not first

    use(work)


def test_without_a_key_stand_ins_answer() -> None:
    async def run() -> None:
        container = Container(Settings(api_key=""))
        assert isinstance(container.orders, StandIn)
        assert await container.orders.read("Two burgers") == ()
        answer = await AIService(container).stop_recording("nobody")
        assert (answer.transcript, answer.text, answer.audio) == ("", "The model has not been set up.", b"")
        assert await container.chat.first_words("x") == answer.text
        assert await container.transcriber.transcribe(b"") == ""

    asyncio.run(run())


@pytest.mark.parametrize("leaks", [(), (Leak.UPLOAD_STREAMS,)])
@pytest.mark.parametrize("fault", [(), ("reset@audio.transcriptions",)])
def test_an_upload_leaves_no_file_unless_it_leaks_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: tuple[str, ...], leaks: tuple[Leak, ...]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    async def work(container: Container, _: Ledger) -> None:
        if fault:
            with pytest.raises(openai.APIConnectionError):
                await container.transcriber.transcribe(speech(0.2))
        else:
            await container.transcriber.transcribe(speech(0.2))
        for upload in getattr(container.transcriber, "_uploads", []):
            assert not upload.closed
            upload.close()

    use(work, faults=fault, leaks=leaks)
    assert len(list(tmp_path.iterdir())) == (1 if fault and leaks else 0)


def test_a_hundred_transcriptions_leave_the_memory_where_it_was() -> None:
    async def work(container: Container, _: Ledger) -> int:
        audio, process = speech(10.0), psutil.Process()
        for _n in range(10):
            await container.transcriber.transcribe(audio)
        before: int = process.memory_info().rss
        for _n in range(100):
            await container.transcriber.transcribe(audio)
        grown: int = process.memory_info().rss - before
        return grown

    assert use(work) < 10 * 1024 * 1024


def test_orders_are_asked_for_again_once_when_the_model_fails() -> None:
    async def once(container: Container, ledger: Ledger) -> None:
        assert await container.orders.read("Two burgers") == (OrderItem("burger", 2),)
        assert [c.ending for c in ledger.ended()] == ["503", "200"]

    async def always(container: Container, ledger: Ledger) -> None:
        with pytest.raises(openai.InternalServerError):
            await container.orders.read("Two burgers")
        assert len(ledger.ended()) == 2

    use(once, faults=["status(code=503)@chat.completions x1"])
    use(always, faults=["status(code=503)@chat.completions"])


@pytest.mark.parametrize(
    ("answer", "items"),
    [
        (BURGERS, (OrderItem("burger", 2),)),
        ('{"items": [{"name": "lobster", "quantity": 1}, {"name": "cola", "quantity": 0}]}', ()),
        ("Two burgers!", ()),
        ("[]", ()),
        ('{"items": [{"name": "cola"}]}', ()),
    ],
)
def test_only_what_is_on_the_menu_is_ordered(answer: str, items: tuple[OrderItem, ...]) -> None:
    assert items_of(answer) == items


@pytest.mark.filterwarnings("ignore:coroutine 'AsyncStream.close' was never awaited:RuntimeWarning")
@pytest.mark.parametrize("leaks", [(), (Leak.UNAWAITED_CLOSE,)])
def test_first_words_leave_no_connection_unless_they_leak(leaks: tuple[Leak, ...]) -> None:
    async def work(container: Container, _: Ledger) -> int:
        for _n in range(3):
            assert BURGERS.startswith(await container.chat.first_words("Two burgers"))
        await asyncio.sleep(0.1)
        port = container.client().base_url.port
        connections = psutil.Process().net_connections("tcp")
        return sum(1 for c in connections if c.raddr and c.raddr[1] == port and c.status == "ESTABLISHED")

    assert use(work, leaks=leaks) == (3 if leaks else 0)


def test_tools_put_into_the_cart_and_tell_the_model_of_its_mistakes() -> None:
    carts = Carts(60.0)
    tools = MenuTools(carts)
    assert json.loads(tools.call("CA1", "add_to_cart", '{"item": "cola", "quantity": 2}')) == {"ok": True}
    assert "burger" in json.loads(tools.call("CA1", "read_menu", ""))["menu"]
    for name, arguments in (
        ("add_to_cart", '{"item": "lobster", "quantity": 1}'),
        ("add_to_cart", "{}"),
        ("add_to_cart", "{"),
        ("add_to_cart", "[]"),
        ("dance", "{}"),
    ):
        assert json.loads(tools.call("CA1", name, arguments))["ok"] is False
    assert carts.close("CA1") == (OrderItem("cola", 2),)
    assert carts.close("CA1") == ()
    assert len(carts) == 0


def test_carts_that_nobody_closes_expire_and_leaking_ones_do_not() -> None:
    async def run() -> None:
        carts, kept = Carts(0.05), Carts(0.05, {Leak.UNBOUNDED_CARTS})
        for each in (carts, kept):
            each.start()
            each.add("CA1", OrderItem("cola", 1))
        kept.close("CA1")
        await asyncio.sleep(0.1)
        assert (len(carts), len(kept)) == (0, 1)
        kept.stop()
        assert len(kept) == 0

    asyncio.run(run())


@pytest.mark.parametrize("leaks", [set(), {Leak.CACHE_POLLING}])
def test_carts_wake_nobody_unless_they_leak(leaks: set[Leak]) -> None:
    async def run() -> int:
        loop, timers = asyncio.get_running_loop(), []
        call_later = loop.call_later

        def counted(*given: Any) -> Any:
            timers.append(given)
            return call_later(*given)

        loop.call_later = counted  # type: ignore[assignment, method-assign]
        carts = Carts(60.0, leaks)
        carts.start()
        await asyncio.sleep(0.1)
        carts.stop()
        return len(timers)

    polled = asyncio.run(run())
    assert polled > 3 if leaks else polled <= 1


@pytest.mark.parametrize("copy_all", [False, True])
def test_a_recording_holds_what_was_said(copy_all: bool) -> None:
    recording = Recording(copy_all=copy_all)
    assert recording.audio == b""
    for piece in (b"ab", b"c", b"def"):
        recording.append(piece)
    assert recording.audio == b"abcdef"


def test_recordings_are_one_a_guest_and_gone_when_stopped() -> None:
    async def work(container: Container, _: Ledger) -> None:
        service = AIService(container)
        service.record("guest", b"dropped: nothing is being recorded")
        service.start_recording("guest")
        service.record("guest", speech(0.2))
        answer = await service.stop_recording("guest")
        assert (answer.transcript, answer.text, answer.audio[:4]) == ("Two burgers, please.", BURGERS, b"RIFF")
        assert service.recordings == {}
        assert await service.transcribe_recording("guest") == ""
        service.start_recording("other")
        service.drop_recording("other")
        assert service.recordings == {}

    use(work)


def test_work_is_tried_again_for_the_errors_named_and_no_other() -> None:
    tried: list[int] = []

    async def fails(error: Exception, times: int) -> str:
        tried.append(1)
        if len(tried) <= times:
            raise error
        return "done"

    async def run(error: Exception, times: int) -> str:
        tried.clear()
        return await with_retry(lambda: fails(error, times), on=(KeyError,), times=3, first_wait_s=0.001)

    assert asyncio.run(run(KeyError("x"), 2)) == "done"
    with pytest.raises(KeyError):
        asyncio.run(run(KeyError("x"), 3))
    assert len(tried) == 3
    with pytest.raises(ValueError, match="y"):
        asyncio.run(run(ValueError("y"), 1))
    assert len(tried) == 1


def test_an_interval_works_until_it_is_stopped() -> None:
    async def run() -> tuple[int, int]:
        done: list[int] = []
        interval = Interval(0.01, lambda: done.append(1))
        await asyncio.sleep(0.1)
        interval.stop()
        stopped_at = len(done)
        await asyncio.sleep(0.05)
        return stopped_at, len(done)

    before, after = asyncio.run(run())
    assert 2 <= before == after


def test_mulaw_is_a_wav_file_that_players_know_and_a_stream_has_a_name() -> None:
    stream = to_stream(wav(speech(0.5)), "message.wav")
    assert stream.name == "message.wav"
    with av.open(stream) as played:
        assert played.streams.audio[0].codec_context.name == "pcm_mulaw"
        assert played.streams.audio[0].duration == 4000


def test_native_memory_is_freed_once() -> None:
    buffer = NativeBuffer(1024)
    buffer.free()
    buffer.free()
    with pytest.raises(MemoryError, match="bytes"):
        NativeBuffer(2**62)
