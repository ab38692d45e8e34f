import asyncio
import time
from pathlib import Path

import pytest
import uvloop

from leakline.fakes.twilio import alarm
from leakline.fakes.twilio.alarm import Alarm

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def run_on(loop: str, body: object) -> None:
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(body)  # type: ignore[arg-type]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("has_timerfd", [True, False])
def test_it_rings_in_order_and_never_early(loop: str, has_timerfd: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_timerfd:
        monkeypatch.setattr(alarm, "_FUNCTIONS", None)
    rung: list[tuple[str, float]] = []

    async def body() -> None:
        it, done = Alarm(), asyncio.Event()
        began = time.monotonic()
        for name, after in (("c", 0.03), ("a", 0.01), ("b", 0.02), ("past", -1.0)):
            it.at(began + after, lambda name=name, after=after: rung.append((name, time.monotonic() - began - after)))  # type: ignore[misc]
        it.at(began + 0.04, done.set)
        await done.wait()

    run_on(loop, body())
    assert [name for name, _ in rung] == ["past", "a", "b", "c"]
    # asyncio's own timers may be early by the resolution that it takes the clock to have.
    assert all(late > -0.002 for _, late in rung)


def test_it_holds_a_file_only_while_something_is_due() -> None:
    def files() -> int:
        return sum("timerfd" in str(file.readlink()) for file in Path("/proc/self/fd").iterdir() if file.is_symlink())

    async def body() -> None:
        it = Alarm()
        assert files() == 0
        for _ in range(3):
            done = asyncio.Event()
            it.at(time.monotonic() + 0.01, done.set)
            assert files() == 1
            await done.wait()
            await asyncio.sleep(0)
            assert files() == 0

    asyncio.run(body())


def test_who_is_called_may_set_it_again() -> None:
    times: list[float] = []

    async def body() -> None:
        it, done = Alarm(), asyncio.Event()
        due = time.monotonic()

        def again() -> None:
            times.append(time.monotonic())
            if len(times) == 50:
                done.set()
            else:
                it.at(due + 0.002 * len(times), again)

        it.at(due, again)
        await done.wait()

    asyncio.run(body())
    assert len(times) == 50
    assert times == sorted(times)
