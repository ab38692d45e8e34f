"""The agent's channel to the harness: a Unix socket with one JSON object per line, served by one thread.

The thread is started with `_thread`, so a SUT that counts its threads with `threading` does not see it.

The agent says hello: {"hello": 1, "pid", "parent", "python": version, "argv"}. Then, for each request
{"do": command, "with": options}, it sends {"result": {...}} or {"error": text}.
"""

import _thread
import json
import os
import socket
import sys

from leakline_agent.state import importing

_MAX_ERROR_CHARS = 500
_CONNECT_TIMEOUT_S = 5
_MAX_FORK_WAIT_S = 5.0
"""How long a fork waits at the most for an import of the agent's to end."""


def start(address, code=()):
    """Connect to the harness's Unix socket at `address` and serve its requests; a forked child connects by itself.

    `code` are directories of the user's own code, in addition to LEAKLINE_CODE's. Raises OSError when nobody listens.
    """
    if code:
        from leakline_agent import frames

        frames.count_as_own(code)
    _connect(address)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=lambda: importing.acquire(True, _MAX_FORK_WAIT_S),
            after_in_parent=_release_import_lock,
            after_in_child=lambda: (_release_import_lock(), _connect_quietly(address)),
        )


def _release_import_lock():
    try:
        importing.release()
    except RuntimeError:
        pass  # the fork waited for the longest time allowed and never got the lock


def _connect_quietly(address):
    try:
        _connect(address)
    except Exception:
        pass


def _connect(address):
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(_CONNECT_TIMEOUT_S)
        connection.connect(address)
        connection.settimeout(None)
        hello = {
            "hello": 1,
            "pid": os.getpid(),
            "parent": os.getppid(),
            "python": sys.version.split()[0],
            "argv": list(getattr(sys, "orig_argv", [])),
        }
        connection.sendall(json.dumps(hello).encode() + b"\n")
    except BaseException:
        connection.close()
        raise
    _thread.start_new_thread(_serve, (connection,))


def _serve(connection):
    # Imported here, not at start-up: most processes that a SUT starts end before the harness asks anything.
    commands = None
    try:
        with connection, connection.makefile("rb") as requests:
            for request in requests:
                if commands is None:
                    with importing:
                        from leakline_agent.commands import Commands

                    commands = Commands()
                connection.sendall(json.dumps(_answer(commands, request)).encode() + b"\n")
    except Exception:
        pass  # the harness has closed the socket, or this process is ending: nobody is left to report to
    finally:
        if commands is not None:
            commands.release()


def _answer(commands, request):
    try:
        return {"result": commands.run(json.loads(request))}
    except Exception as error:
        text = (type(error).__name__ + ": " + str(error))[:_MAX_ERROR_CHARS]
        return {"error": text}
