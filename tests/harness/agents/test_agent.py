"""The agent in real processes: its counters, the allocation sites it names, and that it does no harm."""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from leakline.harness.agents import PYTHON_AGENT_DIR
from leakline.harness.measure.agents import Agents
from leakline.harness.server.process import Sut

Serve = Callable[..., contextlib.AbstractAsyncContextManager[Any]]
"""See conftest.py."""

WAIT = "\nimport time\ntime.sleep(60)\n"

ASYNC_SERVER = """
import asyncio, sys
kept = []
async def leak():
    loop = asyncio.get_running_loop()
    kept.append(loop.call_later(3600, print))
    loop.call_later(3600, print).cancel()
    kept.append(asyncio.create_task(asyncio.Event().wait()))
async def main():
    while True:
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        await leak()
        print("done", flush=True)
if len(sys.argv) > 1:
    import uvloop
    uvloop.run(main())
else:
    asyncio.run(main())
"""


@pytest.mark.parametrize("loop", [[], ["uvloop"]], ids=["asyncio", "uvloop"])
def test_timers_and_tasks_are_counted_exactly_and_their_allocation_sites_named(
    served: Serve, loop: list[str]
) -> None:
    async def run() -> None:
        async with served(ASYNC_SERVER, *loop) as server:
            await server.poke()
            await server.agents.begin()
            before = await server.count()
            for _ in range(5):
                await server.poke()
            after = await server.count()
            assert after["timers"] - before["timers"] == 5
            assert after["tasks"] - before["tasks"] == 5
            await server.agents.begin_trace()
            for _ in range(3):
                await server.poke()
            found = await server.agents.survey(3)
            for resource, line in (("timers", 6), ("tasks", 8)):
                (row,) = found.made[resource]
                frame = next(f for f in row.stack if f.kind == "user")
                assert (row.count, frame.line, frame.function) == (3, line, "leak")
                assert row.size_bytes > 0
            assert not server.agents.detached

    asyncio.run(run())


def test_listeners_are_counted_on_every_emitter(served: Serve) -> None:
    source = """
import sys
from pyee.base import EventEmitter
class Mine(EventEmitter):
    pass
emitters = [EventEmitter(), Mine()]
def leak():
    emitters[0].on("a", lambda: None)
    emitters[1].once("b", lambda: None)
while sys.stdin.readline():
    leak()
    print("done", flush=True)
"""

    async def run() -> None:
        async with served(source) as server:
            await server.poke()
            assert (await server.count())["listeners"] == 2
            await server.agents.begin_trace()
            await server.poke()
            rows = (await server.agents.survey(1)).made["listeners"]
            lines = sorted(next(f.line for f in row.stack if f.kind == "user") for row in rows)
            assert lines == [8, 9]
            assert (await server.count())["listeners"] == 4

    asyncio.run(run())


def test_the_heap_is_stable_over_many_samples(served: Serve) -> None:
    async def run() -> None:
        async with served(ASYNC_SERVER) as server:
            await server.poke()
            await server.agents.begin()
            heaps = [(await server.count())["heap"] for _ in range(60)][10:]
            assert max(heaps) - min(heaps) < 2048

    asyncio.run(run())


def test_a_process_without_the_variable_is_left_alone(tmp_path: Path) -> None:
    agents = Agents()
    environment = agents.environment({**os.environ, "PYTHONPATH": str(tmp_path)})
    del environment["LEAKLINE_AGENT"]
    code = "import sys, threading; print('leakline_agent' in sys.modules, threading.active_count())"
    assert _output(environment, code) == "False 1"


def test_the_servers_own_sitecustomize_still_runs(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import builtins\nbuiltins.mine = 'ran'\n")
    agents = Agents()
    environment = agents.environment({**os.environ, "PYTHONPATH": str(tmp_path)})
    code = "import sys; print(mine, sys.modules['sitecustomize'].__file__)"
    assert _output(environment, code) == f"ran {tmp_path}/sitecustomize.py"


def test_a_server_starts_when_no_harness_listens() -> None:
    agents = Agents()  # never listens
    assert _output(agents.environment(dict(os.environ)), "print('up')") == "up"


def test_a_forked_worker_has_an_agent_of_its_own(tmp_path: Path) -> None:
    source = "import os, time\nif os.fork() == 0:\n    time.sleep(60)\n" + WAIT

    async def run() -> None:
        async with Agents() as agents:
            script = tmp_path / "script.py"
            script.write_text(source)
            environment = agents.environment(dict(os.environ))
            async with Sut([sys.executable, str(script)], environment, tmp_path / "log"):
                await _until(lambda: agents.number == 2)

    asyncio.run(run())


def test_an_agent_that_stops_answering_is_detached_and_reported(
    served: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leakline.harness.measure.agents._ANSWER_S", 0.3)
    source = "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\n"

    async def run() -> None:
        async with served(source) as server:
            assert await server.count() == {}
            assert "no answer in 0.3 s" in server.agents.detached[0]

    asyncio.run(run())


def test_a_child_that_is_forked_while_the_agent_imports_can_import_the_same(served: Serve) -> None:
    source = """
import os, sys, threading, time
begun = threading.Event()
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "ctypes":
            begun.set()
            time.sleep(0.5)
sys.meta_path.insert(0, Slow())
begun.wait()
if os.fork() == 0:
    import signal
    signal.alarm(10)
    import ctypes
    print("done", flush=True)
    os._exit(0)
time.sleep(60)
"""

    async def run() -> None:
        async with served(source) as server, asyncio.timeout(30):
            await asyncio.gather(server.agents.begin(), server.poke())

    asyncio.run(run())


def test_a_sample_does_not_disturb_tuples_that_another_thread_is_building() -> None:
    # CPython resizes a growing tuple in place, and raises SystemError where the agent has a reference to it.
    code = """
import os, threading
from leakline_agent.commands import Commands
kept = [[] for _ in range(400_000)]
def ask():
    commands = Commands()
    for _ in range(8):
        commands.run({"do": "sample"})
    print("well", flush=True)
    os._exit(0)
threading.Thread(target=ask, daemon=True).start()
while True:
    tuple([] for _ in range(3_000))
"""
    assert _output({**os.environ, "PYTHONPATH": str(PYTHON_AGENT_DIR)}, code) == "well"


def test_objects_of_the_first_sample_are_frozen_and_still_counted() -> None:
    code = """
import gc
from leakline_agent.commands import Commands
from pyee.base import EventEmitter
def counts():
    resources = commands.run({"do": "sample"})["resources"]
    return resources["listeners"], resources["objects"]
commands, emitter, old, new = Commands(), EventEmitter(), [[] for _ in range(1_000)], []
emitter.on("order", print)
first, frozen = counts(), gc.get_freeze_count()
for _ in range(3):  # the first samples create a few objects of their own
    listeners, objects = counts()
emitter.on("order", len)
new += [[] for _ in range(500)]
after = counts()
del old[:900]
last = counts()
commands.release()
print(frozen > 1_000, first[0], listeners, after[0], gc.get_freeze_count())
print(after[1] - objects, after[1] - last[1])
"""
    assert _output({**os.environ, "PYTHONPATH": str(PYTHON_AGENT_DIR)}, code) == "True 1 1 2 0\n500 900"


def test_objects_that_a_server_has_frozen_itself_stay_frozen() -> None:
    code = """
import gc
from leakline_agent.commands import Commands
commands, mine = Commands(), [[] for _ in range(1_000)]
gc.freeze()
for _ in range(2):
    commands.run({"do": "sample"})
commands.run({"do": "begin_trace"})
commands.run({"do": "survey"})
commands.release()
print(gc.get_freeze_count() > 1_000)
"""
    assert _output({**os.environ, "PYTHONPATH": str(PYTHON_AGENT_DIR)}, code) == "True"


def _output(environment: dict[str, str], code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == ""
    return done.stdout.strip()


async def _until(condition: Callable[[], bool], limit_s: float = 10.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


CATCHES = """
import asyncio
import sys


def swallow():
    try:
        int("no number")
    except ValueError:
        return None


async def main():
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        for _ in range(3):
            swallow()
        print("done", flush=True)


asyncio.run(main())
"""


def test_a_caught_exception_has_the_line_that_raised_it_or_the_handlers(served: Serve) -> None:
    async def run() -> None:
        async with served(CATCHES) as server:
            await server.agents.begin()
            await server.poke()  # its loop runs: Python 3.11 traces that thread
            await server.agents.begin_error_trace()
            await server.poke()
            # Python 3.11 sees those too with which a coroutine returns.
            (caught,) = [each for each in await server.agents.caught_errors() if each.type == "ValueError"]
            line = CATCHES.splitlines()[caught.frame.line - 1].strip()
            assert line == ("except ValueError:" if sys.version_info >= (3, 12) else 'int("no number")')
            assert (caught.frame.function, caught.count) == ("swallow", 3)

    asyncio.run(run())
