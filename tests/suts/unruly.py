"""What a server may do that no server should: one misdeed at the end of its twentieth call, or of each."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import sys
import time

AT = 20
FORKED: list[int] = []
EATEN: list[bytes] = []


def misbehave(misdeed: str, call: int) -> None:
    """Do what `misdeed` names at the end of call number `call`; nothing for other names."""
    if misdeed == "print":
        for _ in range(50):
            os.write(1, b"x" * 1023 + b"\n" if call % 2 else b"\xff\x00\x1b[2J" * 256)
        sys.stdout.write("x" * 20_000_000)
        sys.stdout.flush()
    if misdeed == "eat":
        if call == 1:
            resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
        EATEN.append(os.urandom(16 << 20))
    if misdeed == "fork":
        child = os.fork()
        if child == 0:
            time.sleep(3600)
            os._exit(0)
        FORKED.append(child)
    if call != AT:
        return
    match misdeed:
        case "crash":
            raise SystemExit("unruly: enough is enough")
        case "exit":
            os._exit(7)
        case "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "hang":
            time.sleep(3600)
        case "close_stdout":
            os.close(1)
            os.close(2)
        case "restart":
            os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606
        case "cut_agent":
            for descriptor in range(3, 64):
                with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as talk:
                    if talk.family == socket.AF_UNIX and talk.getpeername():
                        talk.shutdown(socket.SHUT_RDWR)
        case "ignore_term":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
