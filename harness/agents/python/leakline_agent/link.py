"""The agent's line to the harness: one Unix socket, one JSON object a line, one native thread.

The thread is started below `threading`, so a SUT that counts its own threads does not see it.
"""

import _thread
import json
import os
import socket
import sys

from leakline_agent.state import importing

_MAX_ERROR_CHARS = 500
_MOST_WAIT_S = 5.0


def start(address, code=()):
    """Connect to the harness at `address` and serve it; reconnects in a forked child.

    `code` are directories of the user's own code, besides LEAKLINE_CODE's.
    """
    if code:
        from leakline_agent import frames

        frames.count_as_own(code)
    _connect(address)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=lambda: importing.acquire(True, _MOST_WAIT_S),
            after_in_parent=_imported,
            after_in_child=lambda: (_imported(), _connect_quietly(address)),
        )


def _imported():
    try:
        importing.release()
    except RuntimeError:
        pass  # it waited for too long


def _connect_quietly(address):
    try:
        _connect(address)
    except Exception:
        pass


def _connect(address):
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        line.settimeout(5)
        line.connect(address)
        line.settimeout(None)
        hello = {
            "hello": 1,
            "pid": os.getpid(),
            "parent": os.getppid(),
            "python": sys.version.split()[0],
            "argv": list(getattr(sys, "orig_argv", [])),
        }
        line.sendall(json.dumps(hello).encode() + b"\n")
    except BaseException:
        line.close()
        raise
    _thread.start_new_thread(_serve, (line,))


def _serve(line):
    # Imported here, not at start-up: most processes in a SUT's tree end before they are asked anything.
    commands = None
    try:
        with line, line.makefile("rb") as requests:
            for request in requests:
                if commands is None:
                    with importing:
                        from leakline_agent.commands import Commands

                    commands = Commands()
                line.sendall(json.dumps(_answer(commands, request)).encode() + b"\n")
    except Exception:
        pass  # the harness has gone, or the process is ending: there is nobody left to tell
    finally:
        if commands is not None:
            commands.release()


def _answer(commands, request):
    try:
        return {"result": commands.run(json.loads(request))}
    except Exception as error:
        text = (type(error).__name__ + ": " + str(error))[:_MAX_ERROR_CHARS]
        return {"error": text}
