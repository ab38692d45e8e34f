"""A script with an agent in it."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest

from leakline.harness.data.model import Resource
from leakline.harness.measure.agents import Agents


class Served:
    """A script with an agent in it, and a line to its standard input."""

    def __init__(self, agents: Agents, process: asyncio.subprocess.Process) -> None:
        self.agents = agents
        self._process = process

    async def poke(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        await self._process.stdin.drain()
        assert await self._process.stdout.readline() == b"done\n"

    async def count(self) -> dict[Resource, float]:
        return await self.agents.sample()


@contextlib.asynccontextmanager
async def _served(tmp_path: Path, source: str, *arguments: str) -> AsyncIterator[Served]:
    script = tmp_path / "script.py"
    script.write_text(source)
    async with Agents() as agents:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(script),
            *arguments,
            env=agents.environment(dict(os.environ)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(20):
                while not agents.present:
                    await asyncio.sleep(0.01)
            yield Served(agents, process)
        finally:
            process.kill()
            await process.wait()
            if process.stdin is not None:
                process.stdin.close()


@pytest.fixture
def served(tmp_path: Path) -> Callable[..., contextlib.AbstractAsyncContextManager[Served]]:
    """Runs a script, given as text, with arguments: for an `async with`."""
    return partial(_served, tmp_path)
