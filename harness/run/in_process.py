"""The same verdict for any coroutine, inside the process that runs it: no server, no fakes, no other process."""

from __future__ import annotations

import asyncio
import math
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from leakline.harness.agents import PYTHON_AGENT_DIR
from leakline.harness.attribute import findings
from leakline.harness.attribute.trace_plan import Traced, trace_plan
from leakline.harness.data.errors import UsageError
from leakline.harness.data.model import CallStats, Growth, Resource, RunResult, Sample
from leakline.harness.judge.budgets import Policy
from leakline.harness.judge.growth import MIN_SAMPLES, judge
from leakline.harness.judge.outcome import Evidence, decide
from leakline.harness.measure.agents import survey_of

_BATCHES = 12
_REST_S = 0.01
_FDS = Path("/proc/self/fd")


class NoGrowth:
    """Measures what a loop's body leaves behind.

    `async with no_growth(cycles=200) as each: async for _ in each: await work()`. Leaving the block raises
    AssertionError with the findings, in the words of `wording`, when something grows with the number of cycles; and
    when that cannot be told, then with how many cycles would tell. `result` holds all of it. The body runs some more
    times than `cycles`: to warm up, and to find the lines.

    Raises UsageError for a number of cycles that is too small to judge.
    """

    def __init__(self, cycles: int = 96, *, warmup: int = 16, wording: Callable[[RunResult], str]) -> None:
        if cycles < MIN_SAMPLES or warmup < 0:
            raise UsageError(f"no_growth: expected at least {MIN_SAMPLES} cycles and a warm-up, found {cycles}")
        self._cycles, self._warmup, self._wording = cycles, warmup, wording
        self._samples: tuple[Sample, ...] = ()
        self._names: list[Resource] = []
        self._table = np.zeros(
            (0, 0)
        )  # the samples, in memory that is taken beforehand: they must not grow themselves
        self._growths: tuple[Growth, ...] = ()
        self._began = time.monotonic()
        self._done = 0
        self.result: RunResult | None = None
        if str(PYTHON_AGENT_DIR) not in sys.path:
            sys.path.append(str(PYTHON_AGENT_DIR))
        from leakline_agent.commands import Commands

        make: Any = Commands
        self._commands: Any = make()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._commands.release()
        if kind is not None:
            return
        if self.result is None:
            raise AssertionError("no_growth: its loop was never run to the end")
        if self.result.state == "leaking":
            raise AssertionError(f"growth with each cycle\n{self._wording(self.result)}")
        if self.result.state == "inconclusive":
            raise AssertionError(f"it cannot be told whether something grows\n{self._wording(self.result)}")

    async def __aiter__(self) -> AsyncIterator[int]:
        self._commands.begin()
        async for number in self._times(self._warmup):
            yield number
        batch = max(1, self._cycles // _BATCHES)
        batches = math.ceil(self._cycles / batch)
        self._names = list(self._read())
        self._table = np.zeros((batches + 1, len(self._names)))
        for row in range(batches + 1):
            async for number in self._times(batch if row else 0):
                yield number
            await asyncio.sleep(_REST_S)  # what is to be closed in the loop's next turns is closed
            self._table[row] = list(self._read().values())
        rows = self._table.tolist()
        self._samples = tuple(
            Sample(at * batch, 0.0, dict(zip(self._names, row, strict=True))) for at, row in enumerate(rows)
        )
        self._growths = judge(self._samples)
        traced = None
        if any(growth.state == "leaking" for growth in self._growths):
            plan = trace_plan(self._growths)
            window = next(plan)
            while traced is None:
                survey = None
                if window.depth != "native":  # memray would trace the whole test run
                    self._commands.begin_trace(deep=window.depth == "stacks")
                    async for number in self._times(window.cycles):
                        yield number
                    survey = survey_of([self._commands.survey()], window.cycles)
                try:
                    window = plan.send(survey)
                except StopIteration as done:
                    traced = done.value
        self._finish(traced)

    async def _times(self, number: int) -> AsyncIterator[int]:
        for _ in range(number):
            yield self._done
            self._done += 1

    def _read(self) -> dict[Resource, float]:
        values: dict[Resource, float] = self._commands.sample()["resources"]
        values["threads"] = float(threading.active_count())
        if _FDS.is_dir():
            values["fds"] = float(sum(1 for _ in _FDS.iterdir()))
        return values

    def _finish(self, traced: Traced | None) -> None:
        found = findings.build(self._growths, traced.survey, Path.cwd(), traced.deep) if traced is not None else ()
        calls = CallStats(self._done, self._done)
        outcome = decide(Evidence(self._growths, calls, found), Policy(), datetime.now().astimezone().date())
        self.result = RunResult(
            sut="in process",
            scenario="a coroutine",
            state=outcome.state,
            calls=calls,
            seconds=time.monotonic() - self._began,
            growths=self._growths,
            findings=outcome.findings,
            samples=self._samples,
        )
