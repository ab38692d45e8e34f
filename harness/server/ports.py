"""TCP ports on this machine: which is free, and whether a server listens on one."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket

from leakline.harness.data.errors import RunError

_PORTS, _TRIES = range(10_000, 32_000), 100


def free_port() -> int:
    """A TCP port that nothing uses now, of those that the system gives to nobody by itself (they begin at 32,768).

    One of its own choice may be a connection's end by the time that a server listens on it.
    """
    for port in random.SystemRandom().sample(_PORTS, _TRIES):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RunError(f"no free port was found: {_TRIES} of {_PORTS[0]} to {_PORTS[-1]} are in use")


async def is_listening(host: str, port: int) -> bool:
    """Whether something takes connections there."""
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
