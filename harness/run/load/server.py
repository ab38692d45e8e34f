"""The load run's hold on its host: a process with the server, the fake model and the probes (`host.py`).

Made for Locust's process: `subprocess` is gevent's there, and waiting lets the other greenlets run.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from leakline.harness.data.errors import InternalError, LeaklineError, RunError, UsageError
from leakline.harness.data.readings import Reading
from leakline.harness.run.settings import SoakSettings

_STOP_S = 15.0
_ERRORS: Mapping[object, type[LeaklineError]] = {
    kind.exit_code: kind for kind in (UsageError, RunError, InternalError)
}
"""By the exit code that the host gives."""


class HostProcess:
    """One host, started and prepared. Raises UsageError for settings that cannot work, RunError for what fails.

    Args:
        every_s: seconds between two full readings of the counters.
        phase: called with each phase that begins.
    """

    def __init__(self, settings: SoakSettings, every_s: float, phase: Callable[[str], None]) -> None:
        self._phase = phase
        self._one_at_a_time = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "leakline.harness.run.load.host"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is the load generator's: it ends this one in good order
        )
        try:
            ready = self._ask({"settings": asdict(settings), "every_s": every_s}, "ready")
        except BaseException:
            self.close()
            raise
        self.url = str(ready["url"])
        """Where the server takes calls."""
        self.name = str(ready["name"])
        self.directory = str(ready["directory"])
        """The run's folder."""

    def take_readings(self, calls: int, users: int) -> list[Reading]:
        """The readings since this was last asked; `calls` were made so far, by `users` callers now."""
        return [Reading(**row) for row in self._ask({"do": "read", "calls": calls, "users": users}, "readings")]

    def finish(self, **load: Any) -> Mapping[str, Any]:
        """End the load, telling how its calls went, and wait for the outcome: `{state, directory, exit_code}`."""
        return dict(self._ask({"do": "finish", **load}, "result"))

    def close(self) -> None:
        """Stop it, and with it all that it has started."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.terminate()
            self._process.wait(_STOP_S)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _ask(self, message: Mapping[str, Any], answer: str) -> Any:
        with self._one_at_a_time:
            return self._answer(message, answer)

    def _answer(self, message: Mapping[str, Any], answer: str) -> Any:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None  # noqa: S101  (both are pipes)
        assert stdout is not None  # noqa: S101
        try:
            stdin.write(json.dumps(message) + "\n")
            stdin.flush()
        except (BrokenPipeError, ValueError):
            pass  # its last answer, read below, has why it ended
        while line := stdout.readline():
            said = json.loads(line)
            if "phase" in said:
                self._phase(said["phase"])
            elif "error" in said:
                raise _ERRORS.get(said.get("code"), RunError)(said["error"])
            elif answer in said:
                return said[answer]
        raise RunError(f"the load's host ended with exit code {self._process.wait(_STOP_S)}")
