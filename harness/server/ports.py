"""TCP ports on this machine: which is free, and whether a server listens on one."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket

from leakline.harness.data.errors import RunError

_PORTS, _TRIES = range(10_000, 32_000), 100
"""Ports below Linux's ephemeral range (from 32,768, ip_local_port_range), and how many of them are tried."""


def free_port() -> int:
    """A TCP port that is free now, from outside of the system's ephemeral range.

    A port that the system chooses (port 0) may be taken by some outgoing connection before the server listens on it.

    Raises RunError when none of those tried is free.
    """
    for port in random.SystemRandom().sample(_PORTS, _TRIES):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RunError(f"no free port was found: {_TRIES} of {_PORTS[0]} to {_PORTS[-1]} are in use")


async def is_listening(host: str, port: int) -> bool:
    """Whether something accepts TCP connections at `host:port`."""
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
