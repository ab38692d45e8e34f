"""The counters of a run, from the agents, the operating system, the ledger and the gauges, at quiet points."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

from leakline.fakes.ledger import Ledger
from leakline.harness.data.model import BYTES, Resource
from leakline.harness.measure import descriptors, process
from leakline.harness.measure.agents import Agents
from leakline.harness.measure.files import TempFolder
from leakline.harness.measure.gauges import Gauges
from leakline.harness.server.process import Sut

_PAUSE_S = 0.03
LIMIT_S = 8.0
"""How long to wait for a server to become quiet."""
LONG_LIMIT_S = 30.0
"""The same, for a server that a trace window slows down."""
_HANDSHAKE_S = 1.0
"""How long to wait for a handshake with the model: one that is never answered would delay every sample."""

_OUTLIVES: tuple[Resource, ...] = ("connections", "children", "temp_files")
"""Resources that can outlive the process that made them."""


class Counters:
    """Reads the resources of one SUT; if it `restarts` within a call, only those that can outlive its process."""

    def __init__(
        self,
        sut: Sut,
        agents: Agents,
        ledger: Ledger,
        gauges: Gauges,
        temp: TempFolder,
        *,
        restarts: bool = False,
    ) -> None:
        self._restarts = restarts
        self._each: dict[int, dict[Resource, float]] = {}
        self._sut = sut
        self._agents = agents
        self._ledger = ledger
        self._gauges = gauges
        self._temp = temp
        self.processes: dict[str, dict[Resource, float]] = {}
        """{pid: {resource: number}}: the counters of each process at the last reading."""

    async def quiet(self, limit_s: float = LIMIT_S) -> dict[Resource, float]:
        """A sample: the counters once they are stable, after a collection too; after `limit_s` as they are then."""
        deadline = time.monotonic() + limit_s
        while True:
            await self.until_idle(deadline - time.monotonic())
            values = await self.read()
            if await self._is_quiet(values) or time.monotonic() > deadline:
                return values

    async def until_idle(self, limit_s: float = LIMIT_S) -> None:
        """Wait until the model owes no answer and two cheap readings are equal; `limit_s` at most.

        A cheap reading takes the server about a hundredth of a collection's time.
        """
        began = time.monotonic()
        while (waited_s := time.monotonic() - began) < limit_s:
            if self._model_is_busy(waited_s):
                await self._sut.alive(asyncio.sleep(_PAUSE_S))
            elif await self._is_quiet(await self._sut.alive(self._read_exact_cheap())):
                return

    async def _is_quiet(self, values: dict[Resource, float]) -> bool:
        await asyncio.sleep(_PAUSE_S)
        later = await self._sut.alive(self._read_exact_cheap())
        return all(values.get(name) == value for name, value in later.items())

    def _model_is_busy(self, waited_s: float) -> bool:
        """Whether the fake model still has to answer: a short call may end before the server's handshake is done."""
        return (waited_s < LIMIT_S and bool(self._ledger.still_open("chat.completions"))) or (
            waited_s < _HANDSHAKE_S and self._ledger.is_waiting("realtime")
        )

    async def read(self) -> dict[Resource, float]:
        """The counters now, after a collection. Raises RunError for a gauge that cannot be read."""
        return await self._sut.alive(self._read())

    async def read_cheap(self) -> dict[Resource, float]:
        """The counters that cost the SUT almost nothing, and rss, now; calls may be in progress."""
        counted = await self._sut.alive(self._agents.read_cheap())
        return self._of_interest({**counted, **self._seen_from_outside()})

    async def _read(self) -> dict[Resource, float]:
        counted = await self._agents.sample()  # first, since its collection may close descriptors
        seen = self._seen_from_outside()
        own = self._agents.each
        self.processes = {str(pid): {**own.get(pid, {}), **values} for pid, values in self._each.items()}
        return self._of_interest({**counted, **seen, **await self._gauges.read()})

    async def _read_exact_cheap(self) -> dict[Resource, float]:
        counted = await self._agents.read_cheap()
        seen = {name: value for name, value in self._seen_from_outside().items() if name not in BYTES}
        return self._of_interest({**counted, **seen})

    def _of_interest(self, values: dict[Resource, float]) -> dict[Resource, float]:
        return {name: values[name] for name in _OUTLIVES} if self._restarts else values

    def _seen_from_outside(self) -> dict[Resource, float]:
        totals, self._each = process.read(self._sut)
        return {
            **totals,
            "connections": float(len(self._ledger.still_open("realtime"))),
            "temp_files": float(len(self._temp)),
        }

    def kinds(self) -> Counter[str]:
        """{kind of descriptor or temporary file: how many}, as in `descriptors.kinds` and `TempFolder.kinds`."""
        return descriptors.kinds(self._sut) + self._temp.kinds()
