"""What can go wrong, in the words that the user reads. Every message is whole: what was found, what to do."""

from __future__ import annotations


class LeaklineError(Exception):
    """Base of all that leakline raises for a user to read."""

    exit_code = 3


class UsageError(LeaklineError):
    """The user asked for what cannot be; the message names the field, the value and what was expected."""

    exit_code = 2


class RunError(LeaklineError):
    """The run could not be carried through: the SUT ended, never listened, or no call went as scripted."""

    exit_code = 3


class InternalError(LeaklineError):
    """leakline itself failed, which says nothing about the server: a mistake of its makers, for them to hear of."""

    exit_code = 4


class ServerEndedError(RunError):
    """The server under test has ended by itself; `how` says how, in words: `exited with status 3`."""

    def __init__(self, how: str) -> None:
        super().__init__(f"the SUT ended: it {how}")
        self.how = how
