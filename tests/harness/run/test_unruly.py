"""Servers that do what no server should: the run ends, says what happened and when, and keeps its samples."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from leakline.fakes.twilio import caller
from leakline.harness.data.errors import RunError
from leakline.harness.data.model import RunResult
from leakline.harness.run.journal import FILE_NAME
from leakline.harness.run.settings import SoakSettings
from leakline.harness.run.soak import soak
from leakline.reports.text import in_full

Bridge = Callable[..., SoakSettings]
AT = 20
"""The call at whose end it happens (tests/suts/unruly.py)."""


def run(settings: SoakSettings) -> RunResult:
    return asyncio.run(soak(settings))


def samples_kept(settings: SoakSettings) -> int:
    (journal,) = Path(settings.runs).glob(f"2*/{FILE_NAME}")
    return sum(json.loads(line)["kind"] == "sample" for line in journal.read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize(
    ("misdeed", "told"),
    [
        ("crash", f"ended after {AT} calls: it exited with status 1; it printed: .*enough is enough"),
        ("exit", f"ended after {AT} calls: it exited with status 7, having printed nothing"),
        ("segfault", f"ended after {AT} calls: it was killed by SIGSEGV"),
        ("hang", f"after {AT} calls no call of 4 went as scripted: refused: no WebSocket handshake in 3 s"),
    ],
)
def test_what_ends_a_server_ends_the_run_and_is_told(
    bridge: Bridge, misdeed: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caller, "_HANDSHAKE_S", 3.0)
    settings = bridge(f"unruly_{misdeed}", settle=0.5)
    with pytest.raises(RunError, match=told):
        run(settings)
    assert samples_kept(settings) >= 3
    assert not [
        p
        for p in psutil.process_iter()
        if any("bridge.py" in word for word in words(p)) and f"unruly_{misdeed}" in words(p)
    ]


def words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.mark.parametrize("misdeed", ["close_stdout", "print", "ignore_term"])
def test_what_does_no_harm_to_calls_is_no_finding(bridge: Bridge, misdeed: str) -> None:
    result = run(bridge(f"unruly_{misdeed}", settle=0.5, cycles=24))
    assert result.state == "clean", in_full(result)
    deaf = "1 of the server's processes did not end within 5 s of SIGTERM, and had to be killed"
    assert (deaf in result.notes) == (misdeed == "ignore_term"), in_full(result)
    kept = sum(path.stat().st_size for path in Path(result.directory).iterdir())
    assert kept < 128 << 20  # of 600 MB that it prints


def test_a_server_that_starts_itself_anew_is_not_called_clean(bridge: Bridge) -> None:
    result = run(bridge("unruly_restart", settle=0.5, cycles=24))
    assert result.state == "inconclusive", in_full(result)
    (note,) = [note for note in result.notes if "ended or restarted" in note]
    assert note.endswith("seen after 12 calls")  # and eight to warm up


def test_a_server_that_cuts_its_agent_off_is_not_called_clean(bridge: Bridge) -> None:
    result = run(bridge("unruly_cut_agent", settle=0.5, cycles=24))
    assert result.state == "inconclusive", in_full(result)
    (note,) = [note for note in result.notes if "lost the agent in process" in note]
    assert note.endswith(", whose connection was closed: seen after 12 calls")
    assert result.doubts == (note,)


def test_garbage_is_told_in_few_words(bridge: Bridge) -> None:
    result = run(bridge("unruly_garbage", settle=0.5, cycles=24))
    assert result.state == "clean", in_full(result)
    told = [note for note in result.notes if "Twilio would refuse" in note]
    assert told == ["a message that Twilio would refuse: expected a JSON object, found 99 bytes (32 calls)"]


def test_processes_that_are_left_are_one_finding_with_all_that_they_hold(bridge: Bridge) -> None:
    result = run(bridge("unruly_fork", settle=0.5, cycles=24))
    (found,) = result.findings
    assert (found.resource, found.per_cycle) == ("children", 1.0), in_full(result)
    assert {"tasks", "rss"} <= {companion.resource for companion in found.companions}
    assert found.kept_in == ("unruly.FORKED (+1.00 a call)",)


def test_a_server_that_eats_its_memory_up_to_a_limit_is_not_called_clean(bridge: Bridge) -> None:
    settings = bridge("unruly_eat", settle=0.5)
    result = run(settings)
    assert result.state == "leaking", in_full(result)
    assert samples_kept(settings) == len(result.samples)
