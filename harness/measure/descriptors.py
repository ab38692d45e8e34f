"""The kinds of a SUT's file descriptors, with peer or path. Read from outside, from /proc (Linux)."""

from __future__ import annotations

import contextlib
import re
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

from leakline.harness.server.process import Sut

_PROC = Path("/proc")
_MIN_GROWTH = 0.2
"""Kinds that grow by less per call are not named."""
_MAX_KINDS = 3
_VARYING = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|(?<=[-_.])[A-Za-z0-9_]{8}(?=\.|$)|\d+")
"""What differs between paths of one kind: UUIDs, random parts of 8 characters (tempfile), digits."""


def kinds(sut: Sut) -> Counter[str]:
    """{kind: how many}: `eventfd`, `file /tmp/upload-*.wav`, `socket CLOSE_WAIT to 127.0.0.1:80`.

    Digits and random parts of a path are shown as `*`, so that similar files are one kind. Empty without /proc.
    """
    found: Counter[str] = Counter()
    for process in sut.family():
        with contextlib.suppress(psutil.Error, OSError):
            sockets = {c.fd: c for c in process.net_connections(kind="all")}
            for entry in (_PROC / str(process.pid) / "fd").iterdir():
                with contextlib.suppress(OSError):
                    target = str(entry.readlink())
                    found[_named(target, sockets.get(int(entry.name)))] += 1
    return found


def _named(target: str, connection: Any | None) -> str:
    if target.startswith("socket:"):
        return _socket(connection)
    if target.startswith("pipe:"):
        return "pipe"
    if target.startswith("anon_inode:"):
        return target.removeprefix("anon_inode:").strip("[]")
    if target.startswith("/memfd:"):
        return f"memfd {masked(target.removeprefix('/memfd:').removesuffix(' (deleted)'))}"
    if target.startswith("/dev/"):
        return target
    return f"file {masked(target)}"


def _socket(connection: Any | None) -> str:
    if connection is None:
        return "socket"
    if connection.family == socket.AF_UNIX:
        return "unix socket"
    if connection.raddr:
        return f"socket {connection.status} to {connection.raddr.ip}:{connection.raddr.port}"
    return f"socket {connection.status}"


def masked(path: str) -> str:
    """`path`, with digits and random parts as `*`."""
    return _VARYING.sub("*", path)


def grown(before: Counter[str], after: Counter[str], cycles: int) -> str:
    """The kinds that grew most in `cycles` calls, in words with the growth a call; empty if none did."""
    more = {name: (number - before[name]) / cycles for name, number in after.items() if number > before[name]}
    often = sorted((name for name in more if more[name] >= _MIN_GROWTH), key=lambda name: -more[name])
    return ", ".join(f"{name} {more[name]:+.2f} a call" for name in often[:_MAX_KINDS])
