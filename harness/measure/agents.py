"""The harness's end of the channels to the agents in the SUT's processes.

Every Python and every Node process of the SUT connects by itself (a SUT may have several: a reloader, workers). Their
counters are summed. What an agent sends is checked and converted here; an agent that fails is detached, and the run
reports that. The protocol is described in agents/python/leakline_agent/channel.py and commands.py.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from leakline.harness.agents import ADDRESS_VARIABLE, CODE_VARIABLE, LEND_VARIABLE, NODE_AGENT, PYTHON_AGENT_DIR
from leakline.harness.data.model import Frame, FrameKind, Resource
from leakline.harness.data.survey import MIN_SURVIVORS_PER_CALL, Caught, Retainer, SiteCount, Survey
from leakline.harness.measure import v8_snapshot
from leakline.harness.server import scratch

Language = Literal["Python", "Node"]

COUNTED: Mapping[Language, tuple[Resource, ...]] = {
    "Python": ("heap", "objects", "timers", "tasks", "listeners", "async_generators", "garbage"),
    "Node": ("heap", "objects", "timers", "listeners", "promises", "handles"),
}
"""The resources that the agents count, by the language of their process."""

TRACED: tuple[Resource, ...] = (
    "timers",
    "tasks",
    "threads",
    "listeners",
    "sockets",
    "fds",
    "handles",
    "promises",
    "async_generators",
    "temp_files",
)
"""The resources whose allocation sites the agents can name."""


@dataclass(frozen=True, slots=True)
class ListenerExcess:
    """An event with more listeners than its emitter's limit."""

    emitter: str
    """The emitter's class."""
    event: str
    """The event's name, its first 80 characters."""
    count: int
    """Its listeners."""
    limit: int
    """Node's `getMaxListeners`; for pyee, which has no limit, Node's default of 10."""


_ANSWER_S = 30.0
"""An agent that does not answer in this time is detached."""
_MESSAGE_BYTES = 64 * 1024 * 1024
"""The longest message that is read from an agent."""


@dataclass
class _Channel:
    """A connection of the Unix socket to the agent in one process."""

    pid: int
    language: Language
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class AgentError(Exception):
    """An agent answered with an error, with something that is no answer, or not at all."""


class SilentAgentError(AgentError):
    """An agent did not answer in time."""


class Agents:
    """The agents of one SUT: an async context manager, entered before the SUT starts and left after it has ended."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        """Failures that cost allocation sites or names, but no counter: sentences for the report."""
        self.detached: list[str] = []
        """Agents that failed and were detached, so that their processes are not counted: sentences for the report."""
        self.restarted: set[int] = set()
        """Processes whose agent has connected a second time since `begin`: they have executed a program in place."""
        self.lost: set[int] = set()
        """Processes whose channel has closed since `begin`: they ended, executed a program, or closed the socket."""
        self._channels: dict[int, _Channel] = {}
        self._met: set[int] = set()
        """Processes that have connected."""
        self._listener_excess: tuple[ListenerExcess, ...] = ()
        self._each: dict[int, dict[Resource, float]] = {}
        # Not in the run's folder: a Unix socket's path is limited to 107 bytes (unix(7)).
        self._directory = scratch.path("agent")
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> str:
        """Path of the Unix socket that the agents connect to."""
        return str(self._directory / "agent")

    def environment(self, base: dict[str, str], code: tuple[Path, ...] = ()) -> dict[str, str]:
        """`base` and the variables by which a SUT starts an agent; `code` are directories of the user's own code."""
        search = [str(PYTHON_AGENT_DIR), *filter(None, [base.get("PYTHONPATH")])]
        return {
            **base,
            "PYTHONPATH": os.pathsep.join(search),
            "NODE_OPTIONS": " ".join(
                [f"--require={json.dumps(str(NODE_AGENT))}", base.get("NODE_OPTIONS", "")]
            ).strip(),
            ADDRESS_VARIABLE: self.address,
            **self._memray(),
            CODE_VARIABLE: os.pathsep.join(str(path) for path in code),
            # glibc counts the content of its per-thread caches as in use, and it grows slowly: up to 200 KB a thread.
            "GLIBC_TUNABLES": ":".join(["glibc.malloc.tcache_count=0", *filter(None, [base.get("GLIBC_TUNABLES")])]),
        }

    def _memray(self) -> dict[str, str]:
        """The variable by which a SUT without memray finds the harness's, in a folder without other packages."""
        spec = find_spec("memray")
        if spec is None or not spec.submodule_search_locations:
            return {}
        folder = self._directory / "lent"
        if self._directory.is_dir() and not folder.exists():
            folder.mkdir()
            (folder / "memray").symlink_to(next(iter(spec.submodule_search_locations)))
        return {LEND_VARIABLE: str(folder)}

    async def __aenter__(self) -> Self:
        self._directory.mkdir(mode=0o700)
        self._server = await asyncio.start_unix_server(self._on_connect, self.address, limit=_MESSAGE_BYTES)
        Path(self.address).chmod(0o600)
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _: TracebackType | None
    ) -> None:
        for channel in tuple(self._channels.values()):
            channel.writer.close()
        if self._server is not None:
            self._server.close()
        scratch.remove(self._directory)

    @property
    def number(self) -> int:
        """How many processes of the SUT have an agent now."""
        return len(self._channels)

    @property
    def present(self) -> bool:
        """Whether any process has."""
        return self.number > 0

    @property
    def counted(self) -> tuple[Resource, ...]:
        """The resources that the present agents count."""
        return tuple(dict.fromkeys(resource for language in self.languages for resource in COUNTED[language]))

    @property
    def languages(self) -> frozenset[Language]:
        """The languages of the processes with an agent."""
        return frozenset(channel.language for channel in self._channels.values())

    async def begin(self) -> None:
        """Have the agents prepare for samples; restarted and lost processes are counted from here on."""
        self.restarted.clear()  # a launcher may have executed the server in its place
        self.lost.clear()
        await self._ask_all("begin")

    async def sample(self) -> dict[Resource, float]:
        """The agents' counters after a collection, summed; a resource that one of them cannot read is left out."""
        return await self._counts("sample")

    async def read_cheap(self) -> dict[Resource, float]:
        """The counters that cost the SUT almost nothing, summed: without a collection."""
        return await self._counts("read_cheap")

    @property
    def listener_excess(self) -> tuple[ListenerExcess, ...]:
        """Events with more listeners than their emitter's limit, at the last sample."""
        return self._listener_excess

    @property
    def each(self) -> Mapping[int, Mapping[Resource, float]]:
        """{pid: that process's counters}, at the last sample."""
        return self._each

    async def _counts(self, command: str) -> dict[Resource, float]:
        answers = await self._ask_all(command)
        totals: dict[Resource, float] = {}
        if command == "sample":
            rows = [row for _, answer in answers for row in answer.get("listener_excess", [])]
            self._listener_excess = tuple(
                ListenerExcess(str(r["emitter"]), str(r["event"]), int(r["count"]), int(r["limit"])) for r in rows
            )
            self._each = {channel.pid: answer["resources"] for channel, answer in answers}
        for resource in {name for names in COUNTED.values() for name in names}:
            values = [a["resources"].get(resource) for channel, a in answers if resource in COUNTED[channel.language]]
            if values and all(isinstance(value, int | float) for value in values):
                totals[resource] = float(sum(values))
        return totals

    async def begin_native_trace(self) -> bool:
        """Begin a trace window with native allocations (Python, by memray); whether any agent could."""
        answers = await self._ask_all(
            "begin_trace", of="Python", optional=True, native=True, folder=str(self._directory)
        )
        return bool(answers)

    @property
    def native_traces(self) -> tuple[Path, ...]:
        """memray's files of the native trace windows so far; they are deleted when the context is left."""
        return tuple(sorted(self._directory.glob("native-*.bin")))

    async def begin_trace(self, *, deep: bool = False) -> None:
        """Begin a trace window: the agents record where resources are created, until `survey`.

        `deep` records the whole stack of every allocation, and makes the SUT many times slower.
        """
        await self._ask_all("begin_trace", deep=deep, folder=str(self._directory))

    async def survey(self, cycles: int, of: Language | None = None) -> Survey:
        """End the trace window: what was created in it and is alive, after `cycles` calls; `of` one language only."""
        answers = []
        # With several processes a container may grow in each by a part of the calls.
        least = max(1, math.floor(MIN_SURVIVORS_PER_CALL * cycles)) if len(self._channels) == 1 else 1
        for channel, answer in await self._ask_all("survey", of=of, least=least):
            answers.append(await self._with_snapshots(channel, answer) if channel.language == "Node" else answer)
        return survey_of(answers, cycles)

    async def begin_error_trace(self) -> None:
        """Begin a trace window of exceptions (Python): record where they are caught, until `caught_errors`."""
        await self._ask_all("begin_error_trace", of="Python")

    async def caught_errors(self) -> tuple[Caught, ...]:
        """End the trace window of exceptions: where they were caught in the user's own code."""
        answers = await self._ask_all("caught_errors", of="Python")
        rows = [row for _, answer in answers for row in answer["caught"]]
        return tuple(Caught(_frames(row)[0], str(row["type"]), int(row["count"])) for row in rows)

    async def _with_snapshots(self, channel: _Channel, answer: dict[str, Any]) -> dict[str, Any]:
        """A Node agent's answer, with what its heap snapshots add; without containers if these cannot be read."""
        try:
            files = {name: Path(file) for name, file in answer.get("snapshots", {}).items()}
            after = await self._ask(channel, "snapshot", {}) if files else {}
            if after.get("file"):
                files["after"] = Path(after["file"])
            return await asyncio.to_thread(v8_snapshot.read, answer, files, after.get("ids", []))
        except (v8_snapshot.SnapshotError, AgentError) as error:
            self.problems.append(f"the heap of process {channel.pid} could not be read: {error}")
            return {**answer, "containers": []}

    async def _on_connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            hello = json.loads(await asyncio.wait_for(reader.readline(), _ANSWER_S))
            pid = int(hello["pid"])
            language: Language = "Node" if "node" in hello else "Python"
        except (TimeoutError, ValueError, KeyError, TypeError, OSError):
            writer.close()
            return
        except asyncio.CancelledError:  # the run ended before the agent's hello
            writer.close()
            raise
        if pid in self._met:
            self.restarted.add(pid)
        self._met.add(pid)
        if (before := self._channels.get(pid)) is not None:
            before.writer.close()
        self._channels[pid] = _Channel(pid, language, reader, writer)

    async def _ask_all(
        self, command: str, *, of: Language | None = None, optional: bool = False, **options: object
    ) -> list[tuple[_Channel, dict[str, Any]]]:
        """The answers of all agents, or of those of one language.

        An agent whose channel has closed is lost; one that fails is detached, unless the command is `optional`.
        """
        asked = [channel for channel in self._channels.values() if of in (None, channel.language)]
        answers = []
        # All at once, since a process may be slow to answer, such as one whose event loop is blocked.
        answered = await asyncio.gather(
            *(self._ask(channel, command, options) for channel in asked), return_exceptions=True
        )
        for channel, answer in zip(asked, answered, strict=True):
            match answer:
                case dict():
                    answers.append((channel, answer))
                case ConnectionError() | asyncio.IncompleteReadError():
                    self.lost.add(channel.pid)
                    self._forget(channel)
                case AgentError() if optional and not isinstance(answer, SilentAgentError):
                    pass
                case AgentError():
                    self._forget(channel)
                    how = f"failed at '{command}' and was detached: {answer}"
                    self.detached.append(f"the agent in process {channel.pid} {how}")
                case _:
                    raise answer
        return answers

    def _forget(self, channel: _Channel) -> None:
        if self._channels.get(channel.pid) is channel:
            del self._channels[channel.pid]
        channel.writer.close()

    async def _ask(self, channel: _Channel, command: str, options: dict[str, object]) -> dict[str, Any]:
        channel.writer.write(json.dumps({"do": command, "with": options}).encode() + b"\n")
        try:
            async with asyncio.timeout(_ANSWER_S):
                await channel.writer.drain()
                raw = await channel.reader.readuntil(b"\n")
        except TimeoutError:
            raise SilentAgentError(f"no answer in {_ANSWER_S:g} s") from None
        try:
            answer = json.loads(raw)
        except ValueError:
            raise AgentError("its answer is not JSON") from None
        if "error" in answer:
            raise AgentError(str(answer["error"]))
        result = answer.get("result")
        if not isinstance(result, dict):
            raise AgentError("its answer has no result")
        return result


def _summed(rows: Iterable[SiteCount]) -> tuple[SiteCount, ...]:
    """`rows` with those of the same stack summed: each process of a server has its own."""
    counts: dict[tuple[Frame, ...], tuple[int, int]] = {}
    for row in rows:
        count, size_bytes = counts.get(row.stack, (0, 0))
        counts[row.stack] = (count + row.count, size_bytes + row.size_bytes)
    return tuple(SiteCount(stack, *numbers) for stack, numbers in counts.items())


def survey_of(answers: Iterable[dict[str, Any]], cycles: int) -> Survey:
    """The agents' answers to the command `survey` as one, of a trace window with `cycles` calls."""
    made: dict[Resource, list[SiteCount]] = {}
    heap: list[SiteCount] = []
    pieces: list[SiteCount] = []
    grown: Counter[tuple[str, FrameKind, bool]] = Counter()
    woke: list[SiteCount] = []
    types: Counter[str] = Counter()
    for answer in answers:
        for resource in TRACED:
            rows = answer["resources"].get(resource, [])
            made.setdefault(resource, []).extend(_site_count(row, "retained_bytes") for row in rows)
        heap += [_site_count(row, "bytes") for row in answer["heap"]]
        pieces += [_site_count(row, "bytes") for row in answer.get("blocks", [])]
        woke += [_site_count(row, "retained_bytes") for row in answer.get("timers_set", [])]
        types.update({str(row["type"]): int(row["count"]) for row in answer.get("types", [])})
        for row in answer.get("containers", []):
            grown[str(row["owner"]), row["code"], row.get("unit") == "bytes"] += int(row["grown"])
    return Survey(
        cycles,
        {name: _summed(rows) for name, rows in made.items()},
        _summed(heap),
        _summed(pieces),
        tuple(Retainer(owner, number / cycles, code, is_bytes) for (owner, code, is_bytes), number in grown.items()),
        _summed(woke),
        {name: number / cycles for name, number in types.most_common() if number >= MIN_SURVIVORS_PER_CALL * cycles},
    )


def _frames(row: dict[str, Any]) -> tuple[Frame, ...]:
    return tuple(Frame(str(f["file"]), int(f["line"]), str(f["function"]), f["kind"]) for f in row.get("stack", []))


def _site_count(row: dict[str, Any], size: str) -> SiteCount:
    return SiteCount(_frames(row), int(row["count"]), int(row[size]))
