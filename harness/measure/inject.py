"""Puts an agent into a server that runs already, where its runtime lets one in.

Node opens its inspector on SIGUSR1 (nodejs.org, "Debugging guide"); CPython has `sys.remote_exec` from 3.14 on
(PEP 768), which one interpreter calls on another of its own version: the server's own program is run for that, so
that leakline may be on any version. The others are measured from outside.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from leakline.harness.agents import NODE_AGENT, PYTHON_AGENT_DIR
from leakline.harness.measure.agents import Agents
from leakline.harness.server.attached import Attached
from leakline.harness.server.programs import run_briefly

_POLL_S = 0.2
_LIMIT_S = 5.0
_INSPECTOR_PORT = 9229
_TOO_OLD = 3
_REMOTE_EXEC = f"""
import sys
if not hasattr(sys, "remote_exec"):
    sys.exit({_TOO_OLD})
sys.remote_exec(int(sys.argv[1]), sys.argv[2])
"""
_PYTHON = re.compile(r"python(3[.\d]*)?$")


async def bring_agent(sut: Attached, agents: Agents, code: tuple[Path, ...] = ()) -> str:
    """Put an agent into the process; why that cannot be, in words, else nothing.

    `code` are directories of the user's own code, though it is installed: whole paths.
    """
    program = _program(sut.pid)
    own = tuple(str(path) for path in code)
    name = Path(program).name
    try:
        if name.startswith("node"):
            await _into_node(sut.pid, agents.address, own)
        elif _PYTHON.match(name):
            return await _into_python(sut.pid, program, agents, own)
        else:
            return f"no agent for {name or 'it'}: it is measured from outside"
    except (OSError, aiohttp.ClientError, TimeoutError, RuntimeError, ValueError) as error:
        return f"no agent could be put into process {sut.pid}: {error or type(error).__name__}"
    return await _until_there(agents, sut.pid)


def _program(pid: int) -> str:
    try:
        return psutil.Process(pid).exe()
    except psutil.Error:
        return ""


async def _until_there(agents: Agents, pid: int) -> str:
    deadline = time.monotonic() + _LIMIT_S
    while not agents.present and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(_POLL_S)
    return "" if agents.present else f"the agent put into process {pid} never called"


async def _into_python(pid: int, program: str, agents: Agents, code: tuple[str, ...]) -> str:
    with tempfile.TemporaryDirectory(prefix="leakline-") as folder:
        script = Path(folder) / "attach.py"
        script.write_text(
            f"import sys\nsys.path.append({str(PYTHON_AGENT_DIR)!r})\n"
            f"import leakline_agent\nleakline_agent.start({agents.address!r}, {code!r})\n"
        )
        status, said = await run_briefly(program, "-ISc", _REMOTE_EXEC, str(pid), str(script), limit_s=_LIMIT_S)
        if status == _TOO_OLD:
            return (
                f"no agent could be put into process {pid} ({Path(program).name}): that needs CPython 3.14 or newer "
                "(sys.remote_exec); it is measured from outside. Start it by --sut to have lines"
            )
        if status:
            return f"no agent could be put into process {pid}: {said}"
        return await _until_there(agents, pid)


async def _into_node(pid: int, address: str, code: tuple[str, ...]) -> None:
    """By its inspector, which is closed again."""
    before = _listening(pid)
    if _INSPECTOR_PORT not in before:
        os.kill(pid, signal.SIGUSR1)
    port = await _inspector_port(pid, before)
    link = json.dumps(str(NODE_AGENT.with_name("link.cjs")))
    start = f"require({link}).start({json.dumps(address)}, {json.dumps(code)})"
    close = "{ const inspector = require('node:inspector'); setTimeout(() => inspector.close(), 500).unref() }"
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_LIMIT_S)) as http:
        async with http.get(f"http://127.0.0.1:{port}/json/list") as response:
            (target, *_) = await response.json()
        async with http.ws_connect(target["webSocketDebuggerUrl"]) as inspector:
            await _evaluate(inspector, start)
            await _evaluate(inspector, close)


async def _evaluate(inspector: aiohttp.ClientWebSocketResponse, expression: str) -> None:
    parameters = {"expression": expression, "includeCommandLineAPI": True}
    await inspector.send_json({"id": 1, "method": "Runtime.evaluate", "params": parameters})
    answer: dict[str, Any] = await inspector.receive_json()
    failed = answer.get("result", {}).get("exceptionDetails")
    if failed:
        raise RuntimeError(str(failed.get("exception", {}).get("description", failed.get("text")))[:300])


def _listening(pid: int) -> set[int]:
    connections = psutil.Process(pid).net_connections(kind="tcp")
    return {c.laddr.port for c in connections if c.status == psutil.CONN_LISTEN}


async def _inspector_port(pid: int, before: set[int]) -> int:
    deadline = time.monotonic() + _LIMIT_S
    while time.monotonic() < deadline:
        new = _listening(pid) - before
        if new or _INSPECTOR_PORT in before:
            return min(new or {_INSPECTOR_PORT})
        await asyncio.sleep(_POLL_S)
    raise TimeoutError("its inspector did not open on SIGUSR1")
