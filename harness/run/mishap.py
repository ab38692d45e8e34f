"""What nobody expected: a mistake in leakline itself, which must not look like one of the server's."""

from __future__ import annotations

import contextlib
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

from leakline.harness.data.errors import InternalError, LeaklineError
from leakline.harness.data.words import printable

FILE_NAME = "internal-error.txt"
"""In the run's folder: the traceback."""


@contextlib.contextmanager
def traceback_in(folder: Path | None = None) -> Iterator[None]:
    """For a `with`: an exception that is none of leakline's own errors becomes an InternalError.

    Its traceback goes to a file in `folder`, the run's; or, where there is no run, in a new one among the system's
    temporary files.
    """
    try:
        yield
    except LeaklineError:
        raise
    except Exception as error:
        raise InternalError(_message(error, folder)) from error


def _message(error: Exception, folder: Path | None) -> str:
    what = printable(f"{type(error).__name__}: {error}")
    said = f"leakline itself failed ({what}); this says nothing about the server"
    try:
        path = (folder or Path(tempfile.mkdtemp(prefix="leakline-error-"))) / FILE_NAME
        path.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    except OSError as problem:
        return f"{said}. Its traceback could not be written: {problem.strerror}"
    return f"{said}. Please report it to leakline's makers with its traceback, {path}"
