"""leakline: find what a voice-AI server leaks, how much per call, and from which line.

The public names. Each is imported when it is first used, so that `import leakline` costs next to nothing: a pytest
run imports this package whether or not it soaks.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leakline.growth_check import no_growth
    from leakline.harness.data.errors import LeaklineError, RunError, UsageError
    from leakline.harness.data.model import Finding, RunResult
    from leakline.harness.run.settings import SoakSettings
    from leakline.harness.run.soak import soak
    from leakline.scenarios import (
        Agent,
        Browser,
        Drop,
        FunctionCall,
        HangUp,
        Listen,
        Network,
        Pause,
        Press,
        Say,
        Scenario,
        ScenarioError,
        Send,
    )

    __version__: str

__all__ = [
    "Agent",
    "Browser",
    "Drop",
    "Finding",
    "FunctionCall",
    "HangUp",
    "LeaklineError",
    "Listen",
    "Network",
    "Pause",
    "Press",
    "RunError",
    "RunResult",
    "Say",
    "Scenario",
    "ScenarioError",
    "Send",
    "SoakSettings",
    "UsageError",
    "__version__",
    "no_growth",
    "soak",
]

_ELSEWHERE = {
    "Finding": "leakline.harness.data.model",
    "LeaklineError": "leakline.harness.data.errors",
    "RunError": "leakline.harness.data.errors",
    "RunResult": "leakline.harness.data.model",
    "SoakSettings": "leakline.harness.run.settings",
    "UsageError": "leakline.harness.data.errors",
    "no_growth": "leakline.growth_check",
    "soak": "leakline.harness.run.soak",
}
"""Where public names are that are not of `leakline.scenarios`."""


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("leakline")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_ELSEWHERE.get(name, "leakline.scenarios")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
