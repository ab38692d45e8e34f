"""The errors that a user reads. Each message stands alone: what was found, what was expected, what to do."""

from __future__ import annotations


class LeaklineError(Exception):
    """Base of all that leakline raises for a user to read."""

    exit_code = 3
    """The command's exit status when it ends with this error."""


class UsageError(LeaklineError):
    """Wrong use; the message names the field or option, the value found and what was expected."""

    exit_code = 2


class RunError(LeaklineError):
    """The run could not be completed: the SUT ended, never listened, or no call went as scripted."""

    exit_code = 3


class InternalError(LeaklineError):
    """leakline itself failed, which says nothing about the server: a defect to report to its authors."""

    exit_code = 4


class ServerEndedError(RunError):
    """The server under test has ended by itself; `how` is a phrase such as `exited with status 3`."""

    def __init__(self, how: str) -> None:
        super().__init__(f"the SUT ended: it {how}")
        self.how = how
