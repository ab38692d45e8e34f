import asyncio

from leakline.fakes.openai.ticks import Ticks, finish


def test_waiters_of_one_tick_wake_together_and_not_before_their_time() -> None:
    async def work() -> None:
        loop = asyncio.get_running_loop()
        ticks = Ticks(grid_s=0.02)
        start = loop.time()
        waiters = [loop.create_future() for _ in range(3)]
        for waiter, after in zip(waiters, (0.03, 0.031, 0.2), strict=True):
            ticks.wake(waiter, start + after)
        await waiters[0]
        assert loop.time() >= start + 0.03
        await asyncio.sleep(0)
        assert not waiters[2].done()
        finish(waiters[2])  # woken before its tick: the tick finds it done
        await asyncio.sleep(0.3)

    asyncio.run(work())
