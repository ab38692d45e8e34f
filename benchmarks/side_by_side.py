"""leakline and four other tools on the same leaks of the restaurant: `python benchmarks/side_by_side.py [LEAK ...]`.

Each of the others is used as its docs say, inside the server's process (others/tool.py), in a virtual
environment of its own (`.venv-others`). Printed for each leak and tool: whether it said that there is a leak, and the
beginning of what it said; last for the sound server, of which it should say nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from leakline import demo
from leakline.fakes.faults import FaultPlan, parse_rule
from leakline.fakes.ledger import Ledger
from leakline.fakes.openai import OpenAIServer
from leakline.fakes.twilio import Pace
from leakline.harness.drive.telephone import Telephone, model_environment
from leakline.harness.run.settings import SoakSettings
from leakline.harness.run.soak import soak
from leakline.restaurant.leaks import Leak

ROOT = Path(__file__).resolve().parents[1]
TOOL = ROOT / "benchmarks" / "others" / "tool.py"
OTHERS = ("tracemalloc", "pyleak", "psleak", "limit_leaks")
AT_A_TIME = 4
LIMITS = ("4 KB", "16 KB", "64 KB", "256 KB", "1 MB", "4 MB", "16 MB")
TOOL_LIMIT_S = 240.0


def others_python() -> str:
    """The interpreter of the other tools' virtual environment, made when there is none."""
    folder = ROOT / ".venv-others"
    python = folder / "bin" / "python"
    if not (folder / ".installed").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        needs = ["-r", str(TOOL.with_name("requirements.txt")), "-c", str(ROOT / "constraints.txt")]
        server = ["cachetools", "openai", "pyee", "starlette", "uvicorn", "websockets"]
        subprocess.run([str(python), "-m", "pip", "install", "-qqq", *needs, *server], check=True)
        (folder / ".installed").touch()
    return str(python)


async def by_other(python: str, tool: str, leak: str, limit: str) -> tuple[bool, str]:
    """What one of the other tools says of a leak."""
    settings = SoakSettings(**demo.given(leak, {}))
    ledger, plan = Ledger(), FaultPlan([parse_rule(rule) for rule in settings.faults])
    scenario = settings.load_scenario()
    pace = Pace(20.0)
    telephone = Telephone(ledger, pace=pace)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"ws://127.0.0.1:{listening.getsockname()[1]}/media-stream"
        async with OpenAIServer(scenario.model_script, ledger, speed=20.0, faults=plan) as model:
            ask_read, ask = os.pipe()
            answer, answer_write = os.pipe()
            fds = (ask, answer, listening.fileno())
            environment = {
                **os.environ,
                **model_environment(model),
                **settings.env,
                "ASK": str(ask),
                "ANSWER": str(answer),
                "LISTENING": str(listening.fileno()),
                "LIMIT_LEAKS": limit,
                **({"PYTHONMALLOC": "malloc", "PYTHONUNBUFFERED": "1"} if tool == "psleak" else {}),
            }
            process = await asyncio.create_subprocess_exec(
                python, str(TOOL), tool, leak, env=environment, pass_fds=fds, stderr=asyncio.subprocess.DEVNULL
            )
            os.close(ask)
            os.close(answer)
            reader = asyncio.StreamReader()
            loop = asyncio.get_running_loop()
            transport, _ = await loop.connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ask_read, "rb")
            )
            try:
                async with asyncio.timeout(TOOL_LIMIT_S):
                    while line := (await reader.readline()).decode():
                        if line.startswith("{"):
                            said = json.loads(line)
                            return bool(said["found"]), str(said["says"])
                        left = int(line.split()[1])
                        while left > 0:
                            size = min(AT_A_TIME, left)
                            await asyncio.gather(*(telephone.call(url, scenario) for _ in range(size)))
                            left -= size
                        await asyncio.sleep(0.2)
                        os.write(answer_write, b".")
            except TimeoutError:
                return False, f"no answer in {TOOL_LIMIT_S:g} s"
            finally:
                transport.close()
                os.close(answer_write)
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
    return False, "it ended without a word"


async def by_leakline(leak: str) -> tuple[bool, str]:
    """What leakline says of it."""
    with tempfile.TemporaryDirectory() as runs:
        result = await soak(SoakSettings(**demo.given(leak, {"cycles": 64, "runs": runs})))
    names = [f"{f.site.file.rpartition('/')[2]}:{f.site.line}" if f.site else "no line" for f in result.findings]
    return bool(result.findings), "; ".join(names)


async def least_limit(python: str) -> str:
    """The least limit of limit_leaks that the sound server passes with: the best that it can be set to here."""
    for limit in LIMITS:
        found, _ = await by_other(python, "limit_leaks", "none", limit)
        if not found:
            return limit
    return LIMITS[-1]


async def table(leaks: list[str]) -> None:
    """Print it, row by row."""
    python = others_python()
    limit = await least_limit(python)
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"limit_leaks is set to {limit} a site, the least that the sound server passes with\n")
    print(f"| leak | leakline | {' | '.join(OTHERS)} |\n|---|{'---|' * (1 + len(OTHERS))}", flush=True)
    for leak in leaks:
        cells = [await by_leakline(leak)]
        cells += [await by_other(python, tool, leak, limit) for tool in OTHERS]
        words = [f"yes: {says}" if found else (says or "no") for found, says in cells]
        print(f"| `{leak}` | {' | '.join(word.replace('|', '/') for word in words)} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("leaks", nargs="*")
    asyncio.run(table(parser.parse_args().leaks or [*Leak, "none"]))
