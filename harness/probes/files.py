"""The SUT's temporary files: it is given a folder of its own for them (TMPDIR), so what stays there is its own."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.probes.descriptors import alike


class TempFolder:
    """A folder for one run. Use as a context manager: it is removed with all that is in it."""

    def __init__(self) -> None:
        self.path = Path()

    def __enter__(self) -> Self:
        self.path = Path(tempfile.mkdtemp(prefix="leakline-tmp-"))
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _: TracebackType | None
    ) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    def kinds(self) -> Counter[str]:
        """{a file's name with what varies as `*`: how many}."""
        found: Counter[str] = Counter()
        for folder, _, files in os.walk(self.path):
            for name in files:
                found["file $TMPDIR/" + alike(str(Path(folder, name).relative_to(self.path)))] += 1
        return found
