"""The counters of a run, from all probes and the ledger, read when they are still."""

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
"""For a server to come to rest in."""
LONG_LIMIT_S = 30.0
"""For a server that is slowed by being watched."""
_HANDSHAKE_S = 1.0
"""For a handshake: one that is never answered would hold up every sample."""


_OUTLIVES: tuple[Resource, ...] = ("connections", "children", "temp_files")


class Counters:
    """Reads every resource of one SUT; of one that `restarts`, what can outlive its process."""

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
        """What each process had at the last reading: {pid: {resource: number}}."""

    async def quiet(self, limit_s: float = LIMIT_S) -> dict[Resource, float]:
        """The counters once they are still, and are so after a collection too; after `limit_s` what they are then."""
        deadline = time.monotonic() + limit_s
        while True:
            await self.rest(deadline - time.monotonic())
            values = await self.read()
            if await self._is_still(values) or time.monotonic() > deadline:
                return values

    async def rest(self, limit_s: float = LIMIT_S) -> None:
        """Wait until no request is unanswered, and a moment later nothing has moved; `limit_s` at most.

        Reading what costs the server nothing takes it a hundredth of a collection.
        """
        began = time.monotonic()
        while (waited_s := time.monotonic() - began) < limit_s:
            if self._is_under_way(waited_s):
                await self._sut.alive(asyncio.sleep(_PAUSE_S))
            elif await self._is_still(await self._sut.alive(self._peek())):
                return

    async def _is_still(self, values: dict[Resource, float]) -> bool:
        await asyncio.sleep(_PAUSE_S)
        later = await self._sut.alive(self._peek())
        return all(values.get(name) == value for name, value in later.items())

    def _is_under_way(self, waited_s: float) -> bool:
        """Whether the model still owes an answer: a quick caller has gone before the server's handshake is done."""
        return (waited_s < LIMIT_S and bool(self._ledger.still_open("chat.completions"))) or (
            waited_s < _HANDSHAKE_S and self._ledger.is_waiting("realtime")
        )

    async def read(self) -> dict[Resource, float]:
        """The counters now, after a collection."""
        return await self._sut.alive(self._read())

    async def read_cheap(self) -> dict[Resource, float]:
        """Those of the counters that cost the SUT nothing, and rss, now: calls may be going on."""
        counted = await self._sut.alive(self._agents.peek())
        return self._of_interest({**counted, **self._seen_from_outside()})

    async def _read(self) -> dict[Resource, float]:
        counted = await self._agents.sample()  # first: its collection may close what garbage held open
        seen = self._seen_from_outside()
        own = self._agents.each
        self.processes = {str(pid): {**own.get(pid, {}), **values} for pid, values in self._each.items()}
        return self._of_interest({**counted, **seen, **await self._gauges.read()})

    async def _peek(self) -> dict[Resource, float]:
        counted = await self._agents.peek()
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
        """What the descriptors and the temporary files are: {kind: how many}."""
        return descriptors.kinds(self._sut) + self._temp.kinds()
