"""Short programs that leakline runs for itself, within a limit."""

from __future__ import annotations

import asyncio
from pathlib import Path


async def run_briefly(*command: str, limit_s: float) -> tuple[int, str]:
    """A program's exit code, and the last line of its standard error; it is killed after `limit_s` seconds."""
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
