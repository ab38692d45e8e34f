"""Runs short helper programs, each within a time limit."""

from __future__ import annotations

import asyncio
from pathlib import Path


async def run_briefly(*command: str, limit_s: float) -> tuple[int, str]:
    """Run a program to its end: (exit code, last line of its standard error).

    After `limit_s` seconds it is killed, and the code is 1. Raises OSError when it cannot be started.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(limit_s):
            _, said = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return 1, f"{Path(command[0]).name} did not answer in {limit_s:g} s"
    return process.returncode or 0, (said.decode(errors="replace").strip().splitlines() or [""])[-1]
