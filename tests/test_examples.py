"""The tutorial's servers do what it says."""

import asyncio
import sys
from pathlib import Path

from harness.model import RunResult
from harness.settings import SoakSettings
from harness.soak import soak

EXAMPLES = Path(__file__).parents[1] / "examples"


def soaked(name: str, scenario: str, runs: Path) -> RunResult:
    settings = SoakSettings(
        sut=f"{sys.executable} {EXAMPLES / name} {{port}}",
        url="ws://127.0.0.1:{port}/",
        scenario=scenario,
        cycles=48,
        runs=str(runs),
    )
    return asyncio.run(soak(settings))


def test_the_server_is_clean_until_a_caller_is_dropped(tmp_path: Path) -> None:
    assert soaked("server.py", "question", tmp_path).state == "clean"
    dropped = soaked("server.py", "drop", tmp_path)
    (found,) = dropped.findings
    assert found.resource == "connections"
    assert found.site is not None
    assert found.site.text.startswith("model = await websockets.connect("), dropped.in_full()


def test_the_mended_one_is_clean_then_too(tmp_path: Path) -> None:
    assert soaked("server_fixed.py", "drop", tmp_path).state == "clean"
