"""Folders for the length of a run, which are found and removed if it could not do that itself.

A folder's name has the process that made it: `leakline-KIND-PID-RANDOM`, in the system's folder for temporary files.
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
    """Where a new folder may be made; its name cannot be guessed."""
    return Path(tempfile.gettempdir()) / f"leakline-{kind}-{os.getpid()}-{secrets.token_hex(8)}"


def make(kind: str) -> Path:
    """A new folder that only this user can enter."""
    folder = path(kind)
    folder.mkdir(mode=0o700)
    return folder


def remove(folder: Path) -> None:
    """Remove it with all that is in it."""
    shutil.rmtree(folder, ignore_errors=True)


def sweep(of: int | None = None) -> list[Path]:
    """Remove the folders that the process `of` has made, or else those of processes that are no more.

    What another user has made, or what is no folder (a link that somebody put there), is left alone.
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
