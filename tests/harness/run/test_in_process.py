import asyncio
import re
from pathlib import Path

import pytest

from leakline import no_growth
from leakline.harness.data.errors import UsageError
from leakline.reports.text import in_full

KEPT: list[object] = []
TALK = bytearray()
HERE = Path(__file__)


async def sound() -> None:
    asyncio.get_running_loop().call_later(3600, print).cancel()
    await asyncio.sleep(0)


async def leaks_a_timer() -> None:
    KEPT.append(asyncio.get_running_loop().call_later(3600, print))


async def keeps_memory() -> None:
    KEPT.append({"notes": ["x" * 100 + str(n) for n in range(20)]})


async def adds_to_a_buffer() -> None:
    TALK.extend(b"words " * 200)


def line_of(text: str) -> int:
    return next(n for n, line in enumerate(HERE.read_text().splitlines(), 1) if text in line)


def test_what_leaves_nothing_behind_passes() -> None:
    async def run() -> None:
        async with no_growth(cycles=48) as each:
            async for _ in each:
                await sound()
        assert each.result is not None
        assert each.result.state == "clean", in_full(each.result)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("work", "text", "resource"),
    [
        (leaks_a_timer, "append(asyncio.get_running_loop().call_later", "timers"),
        (keeps_memory, "KEPT.append({", "heap"),
        (adds_to_a_buffer, "TALK.extend(", "heap"),
    ],
)
def test_what_grows_fails_with_its_line(work: object, text: str, resource: str) -> None:
    async def run() -> None:
        async with no_growth(cycles=48) as each:
            async for _ in each:
                await work()  # type: ignore[operator]

    with pytest.raises(AssertionError, match="growth with each cycle") as failure:
        asyncio.run(run())
    message = str(failure.value)
    assert f"LEAKING  {resource}" in message
    assert f"tests/harness/run/test_in_process.py:{line_of(text)}" in message
    assert "retained by" in message


def test_an_error_of_the_work_is_the_tests() -> None:
    async def run() -> None:
        async with no_growth(cycles=48) as each:
            async for _ in each:
                raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        asyncio.run(run())


def test_a_loop_that_is_left_early_is_no_verdict() -> None:
    async def run() -> None:
        async with no_growth(cycles=48) as each:
            async for _ in each:
                break

    with pytest.raises(AssertionError, match="never run to the end"):
        asyncio.run(run())


def test_too_few_cycles_are_refused() -> None:
    with pytest.raises(UsageError, match="no_growth: expected at least 8 cycles"):
        no_growth(cycles=3)


def test_what_cannot_be_told_fails_and_says_how_many_cycles_would_tell() -> None:
    # 0.6 timers a cycle, unevenly: many at first.
    sets = iter([0, 0, 1, 1, 1, 1, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0])
    warm_up = 4

    async def run() -> None:
        async with no_growth(cycles=24, warmup=warm_up) as each:
            async for number in each:
                if number >= warm_up and next(sets, 0):
                    await leaks_a_timer()

    with pytest.raises(AssertionError, match="cannot be told") as failure:
        asyncio.run(run())
    assert re.search(r"timers .*; some \d+ calls would tell", str(failure.value))
