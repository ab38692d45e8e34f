"""Which frame of a stack to name as the allocation site, and how to write its file.

Knows stacks and the files on disk (source.py); nothing of resources, growth or findings.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from leakline.harness.attribute.source import context, function_at, line_text
from leakline.harness.data.model import Frame, Site

_STDLIB = re.compile(r".*/lib/python3\.\d+t?/")
"""The folder of a Python's standard library; `t` stands for a free-threaded build."""


def site_of(stack: Sequence[Frame], root: Path) -> Site | None:
    """The frame to name: the innermost of the user's code, else of a library, else of the standard library.

    `stack` has its innermost frame first. None where it is empty. The file is written as `shown_path` does.
    """
    for kind in ("user", "library", "stdlib"):
        for frame in stack:
            if frame.kind == kind:
                function = frame.function or function_at(frame.file, frame.line) or _calling_function(frame, stack)
                text, around = line_text(frame.file, frame.line), context(frame.file, frame.line)
                return Site(shown_path(frame.file, root), frame.line, function, text, around)
    return None


def _calling_function(frame: Frame, stack: Sequence[Frame]) -> str:
    """The innermost function of the same file that has a name: a callback without one is known by what made it."""
    return next((f.function for f in stack if f.file == frame.file and f.function), "")


def shown_path(file: str, root: Path) -> str:
    """`file` as a person would name it: from `root`, or from the directory that it is imported from."""
    installed = f"{os.sep}site-packages{os.sep}"
    if installed in file:
        return file.rpartition(installed)[2]
    if (standard := _STDLIB.match(file)) is not None:
        return file[standard.end() :]
    # Links are resolved: a diff, or an annotation in CI, names the file itself.
    real, real_root = Path(file).resolve(), root.resolve()
    return str(real.relative_to(real_root)) if real.is_relative_to(real_root) else file
