"""The harness's end of the line to the agents in a SUT's processes.

Every Python and every Node process of the SUT connects by itself (a SUT may be several: a reloader, workers). Counts
are summed. What an agent sends is checked here and becomes plain data; an agent that fails is dropped and said so.
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
"""What the agents count."""

WATCHED: tuple[Resource, ...] = (
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
"""What the agents can name the line of."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """An event with more listeners than its emitter allows."""

    emitter: str
    """The emitter's class."""
    event: str
    count: int
    most: int
    """Node's `getMaxListeners`; 10, its default, for pyee, which has no limit of its own."""


_ANSWER_S = 30.0
_LINE_BYTES = 64 * 1024 * 1024


@dataclass
class _Line:
    pid: int
    language: Language
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class AgentError(Exception):
    """An agent answered with an error, with nonsense, or not at all."""


class SilentAgentError(AgentError):
    """It did not answer."""


class Agents:
    """All agents of one SUT. Use as an async context manager around the SUT's life."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        """What went wrong with what an agent tells of lines, for the report: no counter is missing for it."""
        self.detached: list[str] = []
        """Agents that failed, and count no more in their processes: how each did."""
        self.started_anew: set[int] = set()
        """Processes that since `begin` became another program, or the same from its start, in place."""
        self.lost: set[int] = set()
        """Processes that since `begin` have ended, or become another program, or closed what their agent talks by."""
        self._lines: dict[int, _Line] = {}
        self._met: set[int] = set()
        self._crowded: tuple[Crowd, ...] = ()
        self._each: dict[int, dict[Resource, float]] = {}
        # Not in the run's folder: a Unix socket's path may have 107 bytes at the most.
        self._directory = scratch.path("agent")
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> str:
        """Path of the Unix socket."""
        return str(self._directory / "agent")

    def environment(self, base: dict[str, str], code: tuple[Path, ...] = ()) -> dict[str, str]:
        """`base` with what makes a SUT start an agent; `code` are directories of the user's own code."""
        search = [str(PYTHON_AGENT_DIR), *filter(None, [base.get("PYTHONPATH")])]
        return {
            **base,
            "PYTHONPATH": os.pathsep.join(search),
            "NODE_OPTIONS": " ".join(
                [f"--require={json.dumps(str(NODE_AGENT))}", base.get("NODE_OPTIONS", "")]
            ).strip(),
            ADDRESS_VARIABLE: self.address,
            **self._lend(),
            CODE_VARIABLE: os.pathsep.join(str(path) for path in code),
            # What glibc's per-thread caches keep would count as in use, and fills slowly: up to 200 KB a thread.
            "GLIBC_TUNABLES": ":".join(["glibc.malloc.tcache_count=0", *filter(None, [base.get("GLIBC_TUNABLES")])]),
        }

    def _lend(self) -> dict[str, str]:
        """memray for a SUT that has none: ours alone, not what else is installed beside it."""
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
        self._server = await asyncio.start_unix_server(self._on_connect, self.address, limit=_LINE_BYTES)
        Path(self.address).chmod(0o600)
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _: TracebackType | None
    ) -> None:
        for line in tuple(self._lines.values()):
            line.writer.close()
        if self._server is not None:
            self._server.close()
        scratch.remove(self._directory)

    @property
    def number(self) -> int:
        """How many processes of the SUT have an agent."""
        return len(self._lines)

    @property
    def present(self) -> bool:
        """Whether any of them has."""
        return self.number > 0

    @property
    def counted(self) -> tuple[Resource, ...]:
        """What the agents that are there count."""
        return tuple(dict.fromkeys(resource for language in self.languages for resource in COUNTED[language]))

    @property
    def languages(self) -> frozenset[Language]:
        """What the processes with an agent are written in."""
        return frozenset(line.language for line in self._lines.values())

    async def begin(self) -> None:
        """Have the agents make ready to count."""
        self.started_anew.clear()  # a launcher may become the server
        self.lost.clear()
        await self._ask_all("begin")

    async def sample(self) -> dict[Resource, float]:
        """The agents' counters, summed; a resource that one of them cannot see is left out."""
        return await self._counts("sample")

    async def peek(self) -> dict[Resource, float]:
        """Those of the counters that cost the SUT nothing, without a collection."""
        return await self._counts("peek")

    @property
    def crowded(self) -> tuple[Crowd, ...]:
        """Events that had more listeners than their emitter allows at the last sample."""
        return self._crowded

    @property
    def each(self) -> Mapping[int, Mapping[Resource, float]]:
        """{pid: its own counters}, at the last sample."""
        return self._each

    async def _counts(self, command: str) -> dict[Resource, float]:
        answers = await self._ask_all(command)
        totals: dict[Resource, float] = {}
        if command == "sample":
            rows = [row for _, answer in answers for row in answer.get("crowded", [])]
            self._crowded = tuple(
                Crowd(str(r["emitter"]), str(r["event"]), int(r["count"]), int(r["most"])) for r in rows
            )
            self._each = {line.pid: answer["resources"] for line, answer in answers}
        for resource in {name for names in COUNTED.values() for name in names}:
            values = [a["resources"].get(resource) for line, a in answers if resource in COUNTED[line.language]]
            if values and all(isinstance(value, int | float) for value in values):
                totals[resource] = float(sum(values))
        return totals

    async def watch_native(self) -> bool:
        """Have the Python agents trace what C code allocates, until `survey`; whether memray could."""
        answers = await self._ask_all("watch", of="Python", optional=True, native=True, folder=str(self._directory))
        return bool(answers)

    @property
    def native_traces(self) -> tuple[Path, ...]:
        """memray's files of the native watches so far; they are gone with the agents."""
        return tuple(sorted(self._directory.glob("native-*.bin")))

    async def watch(self, *, deep: bool = False) -> None:
        """Have the agents note where things are made, until `survey`.

        `deep` names the user's line of every allocation; it makes the SUT many times slower.
        """
        await self._ask_all("watch", deep=deep, folder=str(self._directory))

    async def survey(self, cycles: int, of: Language | None = None) -> Survey:
        """What was made since `watch` and lives: `cycles` is the number of calls made in between."""
        answers = []
        # The calls may have gone to any process of several.
        least = max(1, math.floor(MIN_SURVIVORS_PER_CALL * cycles)) if len(self._lines) == 1 else 1
        for line, answer in await self._ask_all("sites", of=of, least=least):
            answers.append(await self._with_snapshots(line, answer) if line.language == "Node" else answer)
        return survey_of(answers, cycles)

    async def watch_errors(self) -> None:
        """Have the agents that can note where exceptions are caught, until `errors`."""
        await self._ask_all("watch_errors", of="Python")

    async def errors(self) -> tuple[Caught, ...]:
        """Where exceptions were caught since `watch_errors`, in the user's own code."""
        answers = await self._ask_all("errors", of="Python")
        rows = [row for _, answer in answers for row in answer["caught"]]
        return tuple(Caught(_frames(row)[0], str(row["type"]), int(row["count"])) for row in rows)

    async def _with_snapshots(self, line: _Line, answer: dict[str, Any]) -> dict[str, Any]:
        """What a Node agent saw, with what its heap snapshots tell."""
        try:
            files = {name: Path(file) for name, file in answer.get("snapshots", {}).items()}
            after = await self._ask(line, "snapshot", {}) if files else {}
            if after.get("file"):
                files["after"] = Path(after["file"])
            return await asyncio.to_thread(v8_snapshot.read, answer, files, after.get("ids", []))
        except (v8_snapshot.SnapshotError, AgentError) as error:
            self.problems.append(f"the heap of process {line.pid} could not be read: {error}")
            return {**answer, "containers": []}

    async def _on_connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            hello = json.loads(await asyncio.wait_for(reader.readline(), _ANSWER_S))
            pid = int(hello["pid"])
            language: Language = "Node" if "node" in hello else "Python"
        except (TimeoutError, ValueError, KeyError, TypeError, OSError):
            writer.close()
            return
        except asyncio.CancelledError:  # the run ends while it says who it is
            writer.close()
            raise
        if pid in self._met:
            self.started_anew.add(pid)
        self._met.add(pid)
        if (before := self._lines.get(pid)) is not None:
            before.writer.close()
        self._lines[pid] = _Line(pid, language, reader, writer)

    async def _ask_all(
        self, command: str, *, of: Language | None = None, optional: bool = False, **options: object
    ) -> list[tuple[_Line, dict[str, Any]]]:
        """The answers of all agents, or of those of one language.

        One whose process has ended is forgotten, one that fails is dropped, unless what is asked is `optional`.
        """
        asked = [line for line in self._lines.values() if of in (None, line.language)]
        answers = []
        # Together: each of many processes may be slow to answer, such as one whose event loop does not run.
        told = await asyncio.gather(*(self._ask(line, command, options) for line in asked), return_exceptions=True)
        for line, answer in zip(asked, told, strict=True):
            match answer:
                case dict():
                    answers.append((line, answer))
                case ConnectionError() | asyncio.IncompleteReadError():
                    self.lost.add(line.pid)
                    self._forget(line)
                case AgentError() if optional and not isinstance(answer, SilentAgentError):
                    pass
                case AgentError():
                    self._forget(line)
                    how = f"failed at '{command}' and was detached: {answer}"
                    self.detached.append(f"the agent in process {line.pid} {how}")
                case _:
                    raise answer
        return answers

    def _forget(self, line: _Line) -> None:
        if self._lines.get(line.pid) is line:
            del self._lines[line.pid]
        line.writer.close()

    async def _ask(self, line: _Line, command: str, options: dict[str, object]) -> dict[str, Any]:
        line.writer.write(json.dumps({"do": command, "with": options}).encode() + b"\n")
        try:
            async with asyncio.timeout(_ANSWER_S):
                await line.writer.drain()
                raw = await line.reader.readuntil(b"\n")
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


def _together(rows: Iterable[SiteCount]) -> tuple[SiteCount, ...]:
    """`rows` with those of one place as one: each process of a server has its own."""
    counts: dict[tuple[Frame, ...], tuple[int, int]] = {}
    for row in rows:
        count, size_bytes = counts.get(row.stack, (0, 0))
        counts[row.stack] = (count + row.count, size_bytes + row.size_bytes)
    return tuple(SiteCount(stack, *numbers) for stack, numbers in counts.items())


def survey_of(answers: Iterable[dict[str, Any]], cycles: int) -> Survey:
    """What the agents' answers to `sites` say together of `cycles` calls."""
    made: dict[Resource, list[SiteCount]] = {}
    heap: list[SiteCount] = []
    pieces: list[SiteCount] = []
    kept: Counter[tuple[str, FrameKind, bool]] = Counter()
    woke: list[SiteCount] = []
    types: Counter[str] = Counter()
    for answer in answers:
        for resource in WATCHED:
            rows = answer["resources"].get(resource, [])
            made.setdefault(resource, []).extend(_site_count(row, "held_bytes") for row in rows)
        heap += [_site_count(row, "bytes") for row in answer["heap"]]
        pieces += [_site_count(row, "bytes") for row in answer.get("pieces", [])]
        woke += [_site_count(row, "held_bytes") for row in answer.get("woke", [])]
        types.update({str(row["type"]): int(row["count"]) for row in answer.get("types", [])})
        for row in answer.get("containers", []):
            kept[str(row["owner"]), row["code"], row.get("unit") == "bytes"] += int(row["grown"])
    return Survey(
        cycles,
        {name: _together(rows) for name, rows in made.items()},
        _together(heap),
        _together(pieces),
        tuple(Retainer(owner, number / cycles, code, is_bytes) for (owner, code, is_bytes), number in kept.items()),
        _together(woke),
        {name: number / cycles for name, number in types.most_common() if number >= MIN_SURVIVORS_PER_CALL * cycles},
    )


def _frames(row: dict[str, Any]) -> tuple[Frame, ...]:
    return tuple(Frame(str(f["file"]), int(f["line"]), str(f["function"]), f["kind"]) for f in row.get("stack", []))


def _site_count(row: dict[str, Any], size: str) -> SiteCount:
    return SiteCount(_frames(row), int(row["count"]), int(row[size]))
