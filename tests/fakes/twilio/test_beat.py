import asyncio

from leakline.fakes.twilio.beat import Pace


class Member:
    def __init__(self) -> None:
        self.beats: list[float] = []

    def beat(self, now: float) -> None:
        self.beats.append(now)


def test_each_member_beats_once_a_frame_and_none_after_it_has_left() -> None:
    members = [Member() for _ in range(7)]
    pace = Pace(10.0)  # 2 ms a frame

    async def run() -> list[int]:
        for member in members:
            pace.join(member)
        await asyncio.sleep(0.4)
        for member in members:
            pace.leave(member)
        then = [len(member.beats) for member in members]
        await asyncio.sleep(0.05)
        return then

    then = asyncio.run(run())
    assert then == [len(member.beats) for member in members]
    assert all(100 <= count <= 202 for count in then)
    assert len(pace.lateness) == sum(then)


def test_calls_that_begin_together_do_not_beat_together() -> None:
    members = [Member() for _ in range(10)]

    async def run() -> None:
        pace = Pace(0.5)  # 40 ms a frame
        for member in members:
            pace.join(member)
        await asyncio.sleep(0.3)
        for member in members:
            pace.leave(member)

    asyncio.run(run())
    first = sorted(member.beats[1] for member in members)
    assert first[-1] - first[0] > 0.02


def test_a_member_that_leaves_from_its_own_beat_and_one_that_never_joined() -> None:
    class Once(Member):
        def beat(self, now: float) -> None:
            super().beat(now)
            pace.leave(self)

    pace, once, stranger = Pace(10.0), Once(), Member()

    async def run() -> None:
        pace.join(once)
        pace.leave(stranger)
        await asyncio.sleep(0.05)

    asyncio.run(run())
    assert len(once.beats) == 1
