"""The run's journal: JSON Lines, appended and flushed as things happen, so that nothing is lost with the run."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from leakline.harness.data.errors import RunError, UsageError

FILE_NAME = "journal.jsonl"


class Journal:
    """Appends records to one run's `journal.jsonl`. Use as a context manager."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._file = (directory / FILE_NAME).open("a", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        with contextlib.suppress(RunError, OSError):  # a full disk was reported already
            if error is not None:
                self.write("failed", error=f"{type(error).__name__}: {error}")
        with contextlib.suppress(OSError):
            self._file.close()

    def write(self, kind: str, **fields: Any) -> None:
        """Append one record: its kind, the time, and its fields. Raises RunError when the disk does not take it."""
        record = {"kind": kind, "at": datetime.now(UTC).isoformat(timespec="milliseconds"), **fields}
        try:
            self._file.write(json.dumps(record, default=str) + "\n")
            self._file.flush()
        except OSError as error:
            raise RunError(
                f"{self._file.name}: cannot be written: {error.strerror}; what it has so far stays"
            ) from None


def new_run_directory(parent: Path, name: str) -> Path:
    """A new folder `parent/DATE-NAME`, with a number behind it where there is one already."""
    stem = f"{datetime.now().astimezone():%Y-%m-%d-%H%M%S}-{name}"
    for number in range(1, 1000):
        directory = parent / (stem if number == 1 else f"{stem}-{number}")
        try:
            directory.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise UsageError(f"runs: cannot make {directory}: {error.strerror}") from error
        return directory
    raise UsageError(f"runs: {parent} already has 999 runs named {stem}")
