"""Puts an agent into a server that runs already, if its runtime allows that; others are measured from outside.

Node opens its inspector on SIGUSR1 (nodejs.org, "Debugging guide"). CPython has `sys.remote_exec` since 3.14 (PEP
768): an interpreter calls it on a process of the same version. So the server's own interpreter is run to call it, and
leakline may run on another version.
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
"""For each step: the inspector opens, the interpreter ends, the agent connects."""
_INSPECTOR_PORT = 9229
"""Node's default."""
_TOO_OLD = 3
"""Exit code of `_REMOTE_EXEC` without `sys.remote_exec`."""
_REMOTE_EXEC = f"""
import sys
if not hasattr(sys, "remote_exec"):
    sys.exit({_TOO_OLD})
sys.remote_exec(int(sys.argv[1]), sys.argv[2])
"""
_PYTHON = re.compile(r"python(3[.\d]*)?$")


async def inject_agent(sut: Attached, agents: Agents, code: tuple[Path, ...] = ()) -> str:
    """Put an agent into the process. Returns "", or a sentence why there is none.

    `code` are absolute paths of directories whose code counts as the user's own, though it is installed.
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
    return await _until_connected(agents, sut.pid)


def _program(pid: int) -> str:
    try:
        return psutil.Process(pid).exe()
    except psutil.Error:
        return ""


async def _until_connected(agents: Agents, pid: int) -> str:
    deadline = time.monotonic() + _LIMIT_S
    while not agents.present and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(_POLL_S)
    return "" if agents.present else f"the agent put into process {pid} did not connect within {_LIMIT_S:g} s"


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
                "(sys.remote_exec); it is measured from outside. Started with --sut, it would have an agent"
            )
        if status:
            return f"no agent could be put into process {pid}: {said}"
        return await _until_connected(agents, pid)


async def _into_node(pid: int, address: str, code: tuple[str, ...]) -> None:
    """Start the agent through the process's inspector, which is closed again. Raises OSError or RuntimeError."""
    before = _listening(pid)
    if _INSPECTOR_PORT not in before:
        os.kill(pid, signal.SIGUSR1)
    port = await _inspector_port(pid, before)
    channel = json.dumps(str(NODE_AGENT.with_name("channel.cjs")))
    start = f"require({channel}).start({json.dumps(address)}, {json.dumps(code)})"
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
    raise TimeoutError(f"its inspector did not open within {_LIMIT_S:g} s of SIGUSR1")
