from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.settings import SoakSettings

pytest_plugins = ["pytester"]

SUTS = Path(__file__).parent / "suts"
SHORT = {"cycles": 48, "warmup": 8, "concurrency": 4}


@pytest.fixture
def bridge(tmp_path: Path) -> Callable[..., SoakSettings]:
    """Settings that soak the small bridge server with one planted leak."""

    def settings(leak: str, **more: object) -> SoakSettings:
        given = {
            "sut": f"{sys.executable} {SUTS / 'bridge.py'} {{port}} {leak}",
            "url": "ws://127.0.0.1:{port}/",
            "name": f"bridge-{leak}",
            "runs": str(tmp_path / "runs"),
            **SHORT,
            **more,
        }
        return SoakSettings(**given)  # type: ignore[arg-type]

    return settings


@pytest.fixture
def leakline(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the real command line in a folder of its own."""

    def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "harness.cli", *arguments],
            cwd=cwd or tmp_path,
            env={**os.environ, "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run
