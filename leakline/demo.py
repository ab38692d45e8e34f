"""The embedded demo: the reference server, with its leaks on and then off."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

from leakline.harness.data.errors import UsageError

LEAKS = "websocket_listeners,timeout_timers"
"""Those that the demo shows: the two that any server may have, and that need nothing to fail."""

_SHOWN_BY: Mapping[str, Mapping[str, Any]] = {
    "orphaned_intervals": {"concurrency": 1},
    "upload_streams": {
        "scenario": "voicemail",
        "faults": ("status(code=503)@realtime", "reset@audio.transcriptions"),
    },
    "handshake_sockets": {"scenario": "early_hang_up", "faults": ("latency(seconds=0.2)@realtime",)},
    "whole_recordings": {"scenario": "voicemail", "faults": ("status(code=503)@realtime",), "peak": True},
    "silent_errors": {"faults": ("status(code=500)@chat.completions",)},
    "refused_calls": {"scenario": "voicemail", "env": {"RESTAURANT_MAX_CALLS": "0"}},
}
"""Calls on which a leak shows that does not show on the demo's own: the edge path that it hides on."""

Platform = Literal["python", "node"]
"""What the demo server is written in."""

PLATFORMS: tuple[Platform, ...] = get_args(Platform)

_PYTHON = (Path(__file__).parent / "restaurant").resolve()
_NODE = (Path(__file__).parent / "restaurant_node").resolve()
_NEEDS = ("cachetools", "openai", "pyee", "starlette", "uvicorn", "websockets")


def given(leaks: str, given: Mapping[str, Any], platform: Platform = "python") -> dict[str, Any]:
    """Settings that soak the restaurant with `leaks` on (`none`, `all`, or names), under what was `given`.

    One leak alone is soaked with the calls that it shows on.

    Raises UsageError for a leak that it does not have, and when what it runs on is not installed.
    """
    demo = {
        **(_in_node(leaks) if platform == "node" else _in_python(leaks)),
        "url": "ws://127.0.0.1:{port}/media-stream",
        "scenario": "two_burgers",
    }
    chosen = {**_SHOWN_BY.get(leaks, {})}
    environment = dict(chosen.get("env", {}))
    chosen |= {name: value for name, value in given.items() if value is not None}
    environment |= chosen.get("env", {})
    return {**demo, **chosen, "env": {**environment, "RESTAURANT_LEAKS": leaks}}


def leaks(platform: Platform) -> tuple[str, ...]:
    """The names of the leaks that the demo server has."""
    if platform == "node":
        return tuple(re.findall(r"^  '(\w+)'", (_NODE / "leaks.mjs").read_text(encoding="utf-8"), re.MULTILINE))
    from leakline.restaurant.leaks import Leak

    return tuple(Leak)


def _in_python(leaks: str) -> dict[str, Any]:
    missing = [name for name in _NEEDS if find_spec(name) is None]
    if missing:
        raise UsageError(f"the demo server needs {', '.join(missing)}: pip install 'leakline[demo]'")
    from leakline.restaurant.leaks import parse

    try:
        parse(leaks)
    except ValueError as error:
        raise UsageError(f"--leaks: {error}") from None
    return {
        "name": "restaurant",
        "sut": shlex.join([sys.executable, "-P", "-m", "leakline.restaurant", "--port", "{port}"]),
        "code": (str(_PYTHON),),
    }


def _in_node(chosen: str) -> dict[str, Any]:
    if shutil.which("node") is None:
        raise UsageError("the demo server in Node needs Node.js 20 or newer")
    if not (_NODE / "node_modules" / "ws").is_dir():
        raise UsageError(f"the demo server in Node needs its packages: cd {_NODE} && npm install")
    names = leaks("node")
    for name in chosen.split(","):
        if name.strip() not in ("", "none", "all", *names):
            raise UsageError(f"--leaks: expected none, all, or of {', '.join(names)}; found {name.strip()!r}")
    return {
        "name": "restaurant-node",
        "sut": shlex.join(["node", str(_NODE / "server.mjs"), "--port", "{port}"]),
        "code": (str(_NODE),),
    }
