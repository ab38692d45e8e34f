"""The other end of a load run, in a process of its own: the server under test, the fake model, and the probes.

Run as `python -m leakline.harness.run.load.host`. It takes commands on its standard input, as lines of JSON, and
answers on its standard output; when its input ends, it stops what it started: a load generator that dies leaves
nothing behind.

    {"settings": {...}, "every_s": 10}        {"ready": {"url": ..., "directory": ...}} or {"error": ..., "code": 2}
    {"do": "read", "calls": 10, "users": 5}   {"readings": [...]}: those since the last time
    {"do": "finish", "calls": ..., ...}       {"phase": ...}, as often as one begins; then {"result": ...}
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from leakline.fakes.serving import reduce_garbage_collection
from leakline.harness.attribute import findings
from leakline.harness.data.errors import LeaklineError, RunError
from leakline.harness.data.model import CallStats, Resource, RunResult, Sample
from leakline.harness.data.readings import Reading, Readings
from leakline.harness.judge.after_load import Load, judge
from leakline.harness.judge.growth import FLOOR, floors_for
from leakline.harness.measure.descriptors import grown
from leakline.harness.run.attribution import Attribution
from leakline.harness.run.cool_down import until_no_more_than
from leakline.harness.run.mishap import traceback_in
from leakline.harness.run.observer import Silent
from leakline.harness.run.settings import SoakSettings, as_tuples
from leakline.harness.run.stage import Measured, Stage, on_stage

_CHEAP_READING_S = 1.0
_RESTART_EVERY_S = 15.0
"""As often as all callers go in the shape `reconnect_storm`."""


class Host:
    """Measures one server while somebody else calls it."""

    def __init__(self, stage: Stage, every_s: float) -> None:
        self._stage = stage
        self._every_s = every_s
        self._at_a_time = stage.settings.concurrency
        self._readings = Readings()
        self._new: list[Reading] = []
        self._calls = 0
        self._now_users = 0
        self._began = time.monotonic()
        self._before: Sample
        self._busy = asyncio.Lock()

    async def prepare(self) -> None:
        """Start the server, make the first calls, and take the reading that all else is held against."""
        await self._stage.until_ready()
        self._stage.observer.phase("warm-up")
        async for _ in self._stage.calls.batches(self._stage.settings.warmup, self._at_a_time):
            pass
        self._before = self._sample(0, await self._stage.counters.quiet())
        self._kinds = self._stage.counters.kinds()

    async def read_on(self) -> None:
        """Read the counters until cancelled: what costs nothing every second, all of them every `every_s`."""
        due = time.monotonic()
        while True:
            async with self._busy:
                is_full = time.monotonic() >= due
                if is_full:
                    values = await self._stage.counters.read()
                    due = time.monotonic() + self._every_s
                else:
                    values = await self._stage.counters.read_cheap()
                reading = Reading(self._at_s(), self._calls, self._now_users, dict(values), is_full)
                self._readings.add(reading)
                self._new.append(reading)
                self._stage.journal.write(
                    "reading", at_s=reading.at_s, cycles=reading.calls, users=reading.users, values=values
                )
            await asyncio.sleep(_CHEAP_READING_S)

    async def restart_on(self) -> None:
        """Stop the server in the middle of its calls, and start it again, until cancelled."""
        while True:
            await asyncio.sleep(_RESTART_EVERY_S)
            async with self._busy:
                await self._stage.restart()

    def take_readings(self, calls: int, users: int) -> list[dict[str, Any]]:
        """The readings since this was last asked; notes how many calls were made and how many callers there are."""
        self._calls, self._now_users = calls, users
        new, self._new = self._new, []
        return [asdict(reading) for reading in new]

    async def finish(self, calls: CallStats, most_at_once: int, notes: tuple[str, ...]) -> RunResult:
        """The load is over: wait until all is quiet, judge what is left, and find the lines of what leaks."""
        stage = self._stage
        await self._busy.acquire()  # no reading at the same time
        stage.observer.phase("waiting until all is quiet")
        after = await self._settled(calls.made)
        steady = [r.sample for r in self._readings if r.users >= 0.9 * most_at_once > 0]
        floors = floors_for(stage.agents.languages, calls.made)
        growths = judge(self._before, after, steady, Load(calls.made, most_at_once), floors)
        attribution = Attribution(stage, self._at_a_time)
        kinds = grown(self._kinds, stage.counters.kinds(), max(1, calls.made))
        try:
            found = await attribution.find(growths, after.values, kinds)
        except RunError as error:
            notes = (*notes, f"the lines could not be found: {error}")
            found = findings.build(growths, None, Path.cwd(), None, kinds)
        during = (r.sample for r in self._readings if r.values.keys() >= after.values.keys())
        return await stage.finish(
            Measured(
                calls=calls,
                seconds=round(time.monotonic() - self._began, 3),
                samples=(self._before, *during, after),
                growths=growths,
                findings=found,
                notes=notes,
                allocations=attribution.allocations,
                artifacts=attribution.artifacts,
            )
        )

    async def _settled(self, calls: int) -> Sample:
        """The counters once they are quiet, and what a server keeps for a while has had `settle` seconds to go."""
        floors = floors_for(self._stage.agents.languages, max(1, self._calls))
        most = {
            name: before + floors.get(name, FLOOR) * max(1, self._calls)
            for name, before in self._before.values.items()
        }
        values = await until_no_more_than(most, self._stage.counters.quiet, length_s=self._stage.settings.settle)
        sample = self._sample(calls, values)
        self._stage.journal.write("sample", cycles=calls, values=values)
        return sample

    def _sample(self, calls: int, values: Mapping[Resource, float]) -> Sample:
        return Sample(calls, self._at_s(), dict(values))

    def _at_s(self) -> float:
        return round(time.monotonic() - self._began, 3)


class _Phases(Silent):
    """Reports the phases of the run to the other process."""

    def phase(self, name: str) -> None:
        _say({"phase": name})


def _say(message: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(message, default=str) + "\n")
    sys.stdout.flush()


async def _lines() -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=16 * 1024 * 1024)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def _serve() -> None:
    lines = await _lines()
    first = json.loads(await lines.readline())
    async with on_stage(SoakSettings(**as_tuples(first["settings"])), _Phases()) as stage:
        host = Host(stage, float(first["every_s"]))
        await _or_end_of_input(host.prepare(), lines)
        reduce_garbage_collection()
        _say({"ready": {"url": stage.settings.url, "name": stage.name, "directory": str(stage.directory)}})
        tasks = [asyncio.create_task(host.read_on())]
        if stage.scenario.restart_after_s is not None:
            tasks.append(asyncio.create_task(host.restart_on()))
        try:
            await _obey(host, lines, tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _or_end_of_input(work: Any, lines: asyncio.StreamReader) -> None:
    """Do `work` unless the other end goes away first."""
    task = asyncio.ensure_future(work)
    while not task.done():
        await asyncio.wait({task}, timeout=0.2)
        if lines.at_eof():
            task.cancel()
    await task


async def _obey(host: Host, lines: asyncio.StreamReader, tasks: Sequence[asyncio.Task[None]]) -> None:
    while line := await lines.readline():
        command = json.loads(line)
        for task in tasks:
            if task.done():
                task.result()  # raises what ended it: the server has ended
        if command["do"] == "read":
            _say({"readings": host.take_readings(int(command["calls"]), int(command["users"]))})
        elif command["do"] == "finish":
            calls = CallStats(int(command["calls"]), int(command["as_scripted"]), dict(command["failures"]))
            notes = tuple(str(note) for note in command.get("notes", ()))
            host.take_readings(calls.made, 0)
            result = await host.finish(calls, int(command["most_at_once"]), notes)
            _say({"result": {"state": result.state, "directory": result.directory, "exit_code": result.exit_code}})


def main() -> None:
    """Run until the standard input ends."""
    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError, BrokenPipeError):
        try:
            with traceback_in():
                asyncio.run(_serve())
        except LeaklineError as error:
            _say({"error": str(error), "code": error.exit_code})


if __name__ == "__main__":
    main()
