"""leakline soaked by leakline."""

import asyncio
import sys
from pathlib import Path

from leakline.harness.run.settings import SoakSettings
from leakline.harness.run.soak import soak
from leakline.reports.text import in_full

OURSELVES = Path(__file__).parents[2] / "suts" / "ourselves.py"
CACHES_FILL = 275
"""Calls, of four each: the fake model's caches of frames (1,024, one a call of its own) and the ledger are full."""


def test_the_harness_and_its_fakes_leave_nothing_of_a_call(tmp_path: Path) -> None:
    settings = SoakSettings(
        sut=f"{sys.executable} {OURSELVES} {{port}}",
        url="ws://127.0.0.1:{port}/",
        scenario="voicemail",
        cycles=64,
        warmup=CACHES_FILL,
        runs=str(tmp_path / "runs"),
    )
    result = asyncio.run(soak(settings))
    assert result.state == "clean", in_full(result)
    assert result.calls.failed == 0
