"""The SUT's temporary files. It gets a folder of its own for them (TMPDIR), so all files there are the SUT's."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from leakline.harness.measure.descriptors import masked
from leakline.harness.server import scratch


class TempFolder:
    """The folder of one run. A context manager: on leaving, the folder is removed with its content."""

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
        """{`file $TMPDIR/` and the file's path there, with digits and random parts as `*`: how many}."""
        return Counter("file $TMPDIR/" + masked(str(file.relative_to(self.path))) for file in self._files())

    def __len__(self) -> int:
        return sum(1 for _ in self._files())

    def _files(self) -> Iterator[Path]:
        return (Path(folder, name) for folder, _, names in os.walk(self.path) for name in names)
