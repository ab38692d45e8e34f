"""The SUT's temporary files: it is given a folder of its own for them (TMPDIR), so what stays there is its own."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from leakline.harness.measure.descriptors import alike
from leakline.harness.server import scratch


class TempFolder:
    """A folder for one run. Use as a context manager: it is removed with all that is in it."""

    def __init__(self) -> None:
        self.path = Path()

    def __enter__(self) -> Self:
        self.path = scratch.make("tmp")
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _: TracebackType | None
    ) -> None:
        scratch.remove(self.path)

    def kinds(self) -> Counter[str]:
        """{a file's name with what varies as `*`: how many}."""
        return Counter("file $TMPDIR/" + alike(str(file.relative_to(self.path))) for file in self._files())

    def __len__(self) -> int:
        return sum(1 for _ in self._files())

    def _files(self) -> Iterator[Path]:
        return (Path(folder, name) for folder, _, names in os.walk(self.path) for name in names)
