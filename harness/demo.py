"""The embedded demo: the reference server, with its leaks on and then off."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.errors import UsageError

_NEEDS = ("openai", "pyee", "starlette", "uvicorn", "websockets")


def given(leaks: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that soak the restaurant with `leaks` on (`none`, `all`, or names), under what was `given`.

    Raises UsageError for a leak that it does not have, and when what it runs on is not installed.
    """
    missing = [name for name in _NEEDS if find_spec(name) is None]
    if missing:
        raise UsageError(f"the demo server needs {', '.join(missing)}: pip install 'leakline[demo]'")
    import restaurant
    from restaurant.leaks import VARIABLE, parse

    try:
        parse(leaks)
    except ValueError as error:
        raise UsageError(f"--leaks: {error}") from None
    demo = {
        "name": "restaurant",
        "sut": shlex.join([sys.executable, "-P", "-m", "restaurant", "--port", "{port}"]),
        "url": "ws://127.0.0.1:{port}/media-stream",
        "scenario": "two_burgers",
        "code": (str(Path(restaurant.__file__).parent),),
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    return {**demo, **chosen, "env": {**chosen.get("env", {}), VARIABLE: leaks}}
