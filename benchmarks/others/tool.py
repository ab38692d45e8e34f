"""The restaurant inside one process with one other tool: `python tool.py TOOL LEAK`.

The tools measure the process that they run in, so the server is a thread of it; the calls come from outside
(../side_by_side.py): this asks for them with `calls N` on its output and waits for a line. The last line is
the tool's judgement as JSON: {"found": bool, "says": text}.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import uvicorn

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2]))

from leakline.restaurant.app import create_app  # noqa: E402
from leakline.restaurant.settings import Settings  # noqa: E402

WARMUP, CALLS = 24, 40
LIMIT = "LIMIT_LEAKS"


def calls(number: int) -> None:
    """Have the outside make calls, and wait until they are over."""
    os.write(int(os.environ["ASK"]), f"calls {number}\n".encode())
    os.read(int(os.environ["ANSWER"]), 1)


class Server:
    """The restaurant on a thread."""

    def __init__(self) -> None:
        self.socket = socket.socket(fileno=int(os.environ["LISTENING"]))
        config = uvicorn.Config(create_app(Settings.from_environment(os.environ)), log_level="error", loop="asyncio")
        self.server = uvicorn.Server(config)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self.server.serve([self.socket]))

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()


def by_tracemalloc() -> tuple[bool, str]:
    """Its docs: compare two snapshots. Found: a line of the server's that allocates and keeps something each call."""
    Server()
    tracemalloc.start(1)
    calls(WARMUP)
    before = tracemalloc.take_snapshot()
    calls(CALLS)
    grown = tracemalloc.take_snapshot().compare_to(before, "lineno")
    lines = [s for s in grown if s.count_diff >= 0.8 * CALLS and "/restaurant/" in s.traceback[0].filename]
    lines.sort(key=lambda s: -s.size_diff)
    return bool(lines), "; ".join(
        f"{s.traceback[0].filename.rpartition('/')[2]}:{s.traceback[0].lineno}" for s in lines[:3]
    )


def by_pyleak() -> tuple[bool, str]:
    """Its docs: wrap what should leave no task and no thread."""
    from pyleak import no_task_leaks, no_thread_leaks

    server = Server()
    calls(WARMUP)

    async def wrapped() -> None:
        async with no_task_leaks(action="raise", enable_creation_tracking=True):
            with no_thread_leaks(action="raise", exclude_daemon=False):
                await asyncio.get_running_loop().run_in_executor(None, calls, CALLS)

    try:
        server.run(wrapped())
    except Exception as error:
        return True, " ".join(str(error).split())[:160]
    return False, ""


def by_psleak() -> tuple[bool, str]:
    """Its docs: a MemoryLeakTestCase that executes a function; fewer times than its 200, since each is a call."""
    import psleak

    Server()
    calls(WARMUP)

    class Calls(psleak.MemoryLeakTestCase):
        def runTest(self) -> None:  # noqa: N802  (unittest's name)
            # Its look at garbage trips over the weak references of asyncio, so that is left out.
            checkers = psleak.Checkers.exclude("gcgarbage")
            self.execute(lambda: calls(1), warmup_times=5, times=20, retries=5, checkers=checkers)

    try:
        Calls().runTest()
    except AssertionError as error:
        return True, " ".join(str(error).split())[-160:]
    return False, ""


def by_limit_leaks() -> tuple[bool, str]:
    """Its docs: a test marked limit_leaks; the limit a site is the least that the sound server passes with."""
    plugins = ("-p", "no:cacheprovider", "-p", "no:asyncio")
    command = [sys.executable, "-m", "pytest", "-q", "--memray", "--native", "-c", os.devnull, *plugins, str(HERE)]
    fds = tuple(int(os.environ[name]) for name in ("ASK", "ANSWER", "LISTENING"))
    done = subprocess.run(command, capture_output=True, text=True, check=False, pass_fds=fds, cwd="/")
    if "hybrid_stack_trace" in done.stdout:  # it asks for the stack of what is over the limit, and fails at that
        return True, "a site is over the limit, and memray failed to name it"
    if done.returncode not in (0, 1):
        return False, f"pytest ended with {done.returncode}: {done.stdout[-300:]}"
    lines = [line.strip() for line in done.stdout.splitlines() if "/restaurant/" in line]
    return done.returncode == 1, "; ".join(dict.fromkeys(lines))[:160]


if "pytest" in sys.modules:
    import pytest

    @pytest.fixture
    def warm() -> None:
        Server()
        calls(WARMUP)

    @pytest.mark.limit_leaks(os.environ.get(LIMIT, "1 MB"))
    def test_calls(warm: None) -> None:
        calls(CALLS)


TOOLS: dict[str, Callable[[], tuple[bool, str]]] = {
    "tracemalloc": by_tracemalloc,
    "pyleak": by_pyleak,
    "psleak": by_psleak,
    "limit_leaks": by_limit_leaks,
}

if __name__ == "__main__":
    found, says = TOOLS[sys.argv[1]]()
    os.write(int(os.environ["ASK"]), (json.dumps({"found": found, "says": says}) + "\n").encode())
    os._exit(0)
