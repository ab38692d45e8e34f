"""Each leak of the restaurant, alone, is found: by what grows, and by the function that makes it. One table."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from leakline import demo
from leakline.harness.data.model import RunResult
from leakline.harness.run.settings import SoakSettings
from leakline.harness.run.soak import soak
from leakline.reports.text import in_full

# Leak: {resource: functions of which one is named; none where no line can be known}; the first one is always found.
CORPUS: dict[str, dict[str, set[str]]] = {
    "duplicate_clients": {"sockets": {"OrderReader._ask", "ChatAgent.first_words"}, "heap": {"Container.client"}},
    "orphaned_intervals": {"timers": {"Interval._next"}},
    "websocket_listeners": {"listeners": {"CallSession._listen"}},
    "timeout_timers": {"timers": {"with_timeout"}},
    "upload_streams": {"fds": {"Transcriber.transcribe"}},
    "unbounded_carts": {"heap": {"Carts.add"}, "objects": {"Carts.add"}},
    "duplicate_adapters": {"connections": {"RealtimeAdapter._open"}},
    "whole_recordings": {"peak_heap": {"Recording.append"}},
    "cache_polling": {"wakeups": {"Interval._next"}},
    "silent_errors": {"silent_errors": {"CallSession.close"}},
    "model_sockets": {"connections": {"RealtimeAdapter._open"}},
    "handshake_sockets": {"connections": {"RealtimeAdapter._open"}},
    "call_tasks": {"tasks": {"TwilioStream.__init__"}},
    "refused_calls": {"sockets": {"Bridge._refuse"}, "tasks": {"Bridge._refuse"}},
    # The connection was opened by the request before, and taken over from the pool.
    "unawaited_close": {"heap": {"ChatAgent.first_words"}, "sockets": {"OrderReader._ask", "ChatAgent.first_words"}},
    "native_buffers": {"heap": {"NativeBuffer.__init__"}},
}
TWO_FINDINGS = {"duplicate_clients", "unawaited_close"}
"""What opens a connection in one function and retains memory in another is reported as two findings."""
KEPT = {"unbounded_carts": ("leakline.restaurant.menu.Carts._carts (+1.00 a call)",)}
"""What retains the memory, where that is reported."""
THOROUGH = {
    *(
        "duplicate_clients",
        "orphaned_intervals",
        "silent_errors",
        "refused_calls",
        "unawaited_close",
        "native_buffers",
    ),
    # These have a soak of their own: of the demo (test_cli), and of a smaller server (test_soak).
    *("websocket_listeners", "timeout_timers", "duplicate_adapters", "model_sockets"),
}
"""Those that take long, or are one more of a kind: they are tested by `make test-all` alone."""


def run(leak: str, tmp_path: Path, cycles: int) -> RunResult:
    given = {"cycles": cycles, "settle": 1.0, "runs": str(tmp_path)}
    return asyncio.run(soak(SoakSettings(**demo.given(leak, given))))


def thorough(name: str) -> Any:
    return pytest.param(name, marks=pytest.mark.thorough)


@pytest.mark.parametrize("leak", [thorough(leak) if leak in THOROUGH else leak for leak in CORPUS])
def test_a_leak_alone_is_found_where_it_is_made(leak: str, tmp_path: Path) -> None:
    result = run(leak, tmp_path, 32)
    expected = CORPUS[leak]
    grew = {resource for f in result.findings for resource in (f.resource, *(c.resource for c in f.companions))}
    assert next(iter(expected)) in grew, in_full(result)
    assert len(result.findings) <= (2 if leak in TWO_FINDINGS else 1), in_full(result)
    if leak in TWO_FINDINGS:  # the function at fault is the second one's
        assert {str(f.resource) for f in result.findings} == set(expected), in_full(result)
    for finding in result.findings:
        assert finding.resource in expected, in_full(result)
        functions = {site.function for site in finding.sites}
        assert functions & expected[finding.resource] or functions == expected[finding.resource], in_full(result)
        assert finding.kept_in == KEPT.get(leak, finding.kept_in), in_full(result)


@pytest.mark.parametrize(
    "edge", ["upload_streams", "handshake_sockets", thorough("whole_recordings"), thorough("silent_errors")]
)
def test_the_sound_server_is_clean_on_the_paths_where_leaks_hide(edge: str, tmp_path: Path) -> None:
    settings = demo.given(edge, {"cycles": 48, "runs": str(tmp_path)})
    settings["env"] |= {"RESTAURANT_LEAKS": "none"}
    result = asyncio.run(soak(SoakSettings(**settings)))
    assert result.state == "clean", in_full(result)
