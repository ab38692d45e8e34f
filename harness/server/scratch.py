"""Temporary folders of a run. Those of a run that was killed are found by their names and removed later.

A folder is called `leakline-KIND-PID-RANDOM`, with the id of the process that made it, in the system's folder for
temporary files.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import tempfile
from pathlib import Path

import psutil

_NAME = re.compile(r"leakline-[a-z]+-(\d+)-[0-9a-f]+")


def path(kind: str) -> Path:
    """A path for a new folder, whose name cannot be guessed."""
    return Path(tempfile.gettempdir()) / f"leakline-{kind}-{os.getpid()}-{secrets.token_hex(8)}"


def make(kind: str) -> Path:
    """Make a new folder that only this user can enter (mode 0700)."""
    folder = path(kind)
    folder.mkdir(mode=0o700)
    return folder


def remove(folder: Path) -> None:
    """Remove a folder with all that is in it; errors are ignored."""
    shutil.rmtree(folder, ignore_errors=True)


def sweep(of: int | None = None) -> list[Path]:
    """Remove the folders that process `of` made, or without it those of processes that no longer run.

    Folders of other users are left alone, and so is a link with such a name. Returns what was removed.
    """
    removed = []
    for folder in Path(tempfile.gettempdir()).glob("leakline-*"):
        name = _NAME.fullmatch(folder.name)
        if name is None or folder.is_symlink() or not folder.is_dir() or folder.stat().st_uid != os.getuid():
            continue
        maker = int(name[1])
        if maker == of if of is not None else not psutil.pid_exists(maker):
            remove(folder)
            removed.append(folder)
    return removed
