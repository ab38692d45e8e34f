"""Memory as the agent reports it: its allocation sites, the resources that it is charged to, and its retainers."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

Serve = Callable[..., contextlib.AbstractAsyncContextManager[Any]]
"""See conftest.py."""


def test_memory_on_a_threads_stack_is_charged_to_the_thread(served: Serve) -> None:
    source = """
import sys, threading
def wait(text):
    mine = [text * 100 + str(n) for n in range(100)]
    threading.Event().wait()
while line := sys.stdin.readline():
    threading.Thread(target=wait, args=("x" * 10,), daemon=True).start()
    print("done", flush=True)
"""

    async def run() -> None:
        async with served(source) as server:
            await server.poke()
            await server.agents.begin_trace()
            for _ in range(3):
                await server.poke()
            found = await server.agents.survey(3)
            (row,) = found.made["threads"]
            assert (row.count, row.stack[0].line if row.stack[0].kind == "user" else 0) == (3, 7)
            assert row.size_bytes >= 3 * 100 * 1000
            left = sum(other.size_bytes for other in found.heap if other.stack[0].line == 4)  # the list's own array
            assert left < 0.05 * row.size_bytes

    asyncio.run(run())


def test_growing_texts_buffers_and_tuples_are_named_with_their_allocation_sites(served: Serve) -> None:
    source = """
import array, io, sys
class Slots:
    __slots__ = ("text",)
class Notes:
    seen = ()
    def __init__(self):
        self.data = b""
        self.times = {}
notes, slots = Notes(), Slots()
slots.text = ""
words, tape, audio, numbers = "", io.BytesIO(), bytearray(), array.array("d")
last = ""
def leak(n):
    global words, last
    words += "w" * 2001
    tape.write(b"t" * 2003)
    audio.extend(b"a" * 2005)
    numbers.extend([0.5] * 251)
    notes.data += b"d" * 2009
    slots.text += "s" * 2011
    for i in range(20):
        notes.times[f"{n}-{i}"] = i
        Notes.seen += (i,)
    last = "l" * (1500 + n % 2)
n = 0
while sys.stdin.readline():
    n += 1
    leak(n)
    print("done", flush=True)
"""
    lines = dict(zip(("words", "tape", "audio", "numbers", "data", "text"), range(16, 22), strict=True))
    owners = {
        "__main__.words": 2001,
        "__main__.tape": 2003,
        "__main__.audio": 2005,
        "__main__.numbers": 251 * 8,
        "__main__.Notes.data": 2009,
        "__main__.Slots.text": 2011,
    }

    async def run() -> None:
        async with served(source) as server:
            for _ in range(5):
                await server.poke()
            await server.agents.begin_trace(deep=True)
            for _ in range(10):
                await server.poke()
            found = await server.agents.survey(10)
            kept = {k.owner: k.per_cycle for k in found.retainers}
            assert {owner: kept.get(owner) for owner in owners} == owners
            assert {k.owner for k in found.retainers if k.is_bytes} == set(owners)
            assert (kept["__main__.Notes.times"], kept["__main__.Notes.seen"]) == (20.0, 20.0)
            where = {row.stack[0].line: row.size_bytes / 10 for row in found.buffers}
            assert sorted(where) == sorted(lines.values())
            for name, line in lines.items():
                grown = next(size for owner, size in owners.items() if owner.endswith(name))
                assert grown <= where[line] <= 1.2 * grown  # buffers are allocated with room to grow
            (row,) = (row for row in found.allocated if row.stack[0].line == lines["words"])
            assert row in found.buffers  # and its block is not in `heap` as well

    asyncio.run(run())


def test_files_threads_and_memory_have_their_allocation_sites(served: Serve) -> None:
    source = """
import json, sys, threading
kept = []
def leak():
    kept.append(open(sys.argv[0]))
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    kept.append(json.loads('[' + '"' + 'x' * 5000 + '"]'))
while sys.stdin.readline():
    leak()
    print("done", flush=True)
"""

    async def run() -> None:
        async with served(source) as server:
            await server.poke()
            await server.agents.begin_trace(deep=True)
            await server.poke()
            await server.poke()
            found = await server.agents.survey(2)
            lines = {
                name: [next(f.line for f in r.stack if f.kind == "user") for r in found.made[name]]
                for name in ("fds", "threads")
            }
            assert lines == {"fds": [5], "threads": [6]}
            assert found.made["fds"][0].count == 2
            heap = max(found.heap, key=lambda row: row.size_bytes)
            assert heap.size_bytes >= 10_000
            assert next(f.line for f in heap.stack if f.kind == "user") == 7

    asyncio.run(run())
