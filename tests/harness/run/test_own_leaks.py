"""leakline soaked by leakline."""

import asyncio
import sys
from pathlib import Path

from leakline.harness.run.settings import SoakSettings
from leakline.harness.run.soak import soak
from leakline.reports.text import in_full

OURSELVES = Path(__file__).parents[2] / "suts" / "ourselves.py"


def test_the_harness_and_its_fakes_leave_nothing_of_a_call(tmp_path: Path) -> None:
    settings = SoakSettings(
        sut=f"{sys.executable} {OURSELVES} {{port}}",
        url="ws://127.0.0.1:{port}/",
        scenario="voicemail",
        cycles=64,
        runs=str(tmp_path / "runs"),
    )
    result = asyncio.run(soak(settings))
    assert result.state == "clean", in_full(result)
    assert result.calls.failed == 0
