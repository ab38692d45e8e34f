import asyncio

import pytest

from leakline.restaurant import leaks
from leakline.restaurant.leaks import Leak
from leakline.restaurant.settings import Settings
from leakline.restaurant.timeouts import with_timeout


def test_leaks_are_named_one_by_one_or_all() -> None:
    assert leaks.parse("none") == leaks.parse("") == frozenset()
    assert leaks.parse("all") == frozenset(Leak)
    both = {Leak.TIMEOUT_TIMERS, Leak.WEBSOCKET_LISTENERS}
    assert leaks.parse(" timeout_timers , websocket_listeners") == both
    with pytest.raises(ValueError, match=r"expected none, all, or of duplicate_clients, .*; found 'x'"):
        leaks.parse("timeout_timers,x")


def test_settings_come_from_the_environment() -> None:
    settings = Settings.from_environment({"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1/"})
    assert settings.realtime_url == "ws://127.0.0.1:9/v1/realtime?model=gpt-realtime"
    assert Settings(api_key="k").realtime_url == "wss://api.openai.com/v1/realtime?model=gpt-realtime"
    with pytest.raises(ValueError, match="RESTAURANT_LEAKS: expected none"):
        Settings.from_environment({"RESTAURANT_LEAKS": "water"})


async def _answer(after_s: float) -> str:
    await asyncio.sleep(after_s)
    return "ready"


@pytest.mark.parametrize("leak_timer", [False, True])
def test_the_work_wins_and_its_timer_is_cancelled_unless_it_leaks(leak_timer: bool) -> None:
    async def run() -> bool:
        loop = asyncio.get_running_loop()
        made: list[asyncio.TimerHandle] = []
        call_later = loop.call_later

        def remember(delay: float, *rest: object) -> asyncio.TimerHandle:
            made.append(call_later(delay, *rest))  # type: ignore[arg-type]
            return made[-1]

        loop.call_later = remember  # type: ignore[assignment, method-assign]
        assert await with_timeout(_answer(0), 60.0, leak_timer=leak_timer) == "ready"
        (timer,) = [handle for handle in made if handle.when() > loop.time() + 30]
        cancelled = timer.cancelled()
        timer.cancel()
        return cancelled

    assert asyncio.run(run()) is not leak_timer


def test_the_limit_wins_and_the_work_is_cancelled() -> None:
    with pytest.raises(TimeoutError, match=r"no answer in 0\.01 s"):
        asyncio.run(with_timeout(_answer(60), 0.01))


def test_cancelling_the_caller_cancels_the_work() -> None:
    async def run() -> None:
        work = asyncio.ensure_future(_answer(60))
        outer = asyncio.create_task(with_timeout(_wrap(work), 60.0))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        outer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer
        assert work.cancelled()

    asyncio.run(run())


async def _wrap(work: "asyncio.Future[str]") -> str:
    return await work


def test_errors_of_the_work_are_the_callers() -> None:
    async def fail() -> str:
        raise KeyError("x")

    with pytest.raises(KeyError):
        asyncio.run(with_timeout(fail(), 1.0))
