"""Whole runs against a real server process: what is planted is found, on its line, and nothing else is."""

import asyncio
import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from leakline.harness.data.errors import RunError, UsageError
from leakline.harness.data.model import RunResult
from leakline.harness.run.settings import SoakSettings
from leakline.harness.run.soak import soak
from leakline.harness.server.process import Sut
from leakline.reports.text import in_full

Bridge = Callable[..., SoakSettings]
SOURCE = (Path(__file__).parents[2] / "suts" / "bridge.py").read_text().splitlines()


def line_of(text: str) -> int:
    (number,) = [n for n, line in enumerate(SOURCE, 1) if text in line]
    return number


def run(settings: SoakSettings) -> RunResult:
    return asyncio.run(soak(settings))


@pytest.mark.parametrize(("leak", "resource"), [("none", ""), ("orphan", "children"), ("pid_file", "temp_files")])
def test_what_outlives_a_server_that_is_stopped_in_the_middle_of_its_calls(
    bridge: Bridge, leak: str, resource: str
) -> None:
    result = run(bridge(leak, scenario="server_restart", cycles=9, warmup=1, settle=0.5))
    assert [f.resource for f in result.findings] == ([resource] if resource else []), in_full(result)
    assert result.state == ("leaking" if resource else "clean"), in_full(result)
    assert any("started again" in note for note in result.notes)
    if leak == "orphan":
        assert not [p for p in psutil.process_iter() if _words(p) == ["sleep", "600"]]


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.mark.parametrize(
    ("leak", "resource", "per_cycle", "line"),
    [
        ("model_socket", "connections", 1.0, "model = await connect("),
        ("task", "tasks", 1.0, "create_task(forget_nothing())"),
        ("thread", "threads", 1.0, "threading.Thread("),
        ("file", "fds", 1.0, '.open("w")'),
        ("heap", "heap", None, "json.loads(json.dumps("),
        ("rare", "timers", 0.2, "call_later(3600"),
    ],
)
def test_a_planted_leak_is_the_one_finding(
    bridge: Bridge, leak: str, resource: str, per_cycle: float | None, line: str
) -> None:
    result = run(bridge(leak, settle=1.0, scenario="voicemail"))
    assert [f.resource for f in result.findings] == [resource], in_full(result)
    (found,) = result.findings
    assert found.site is not None
    assert (Path(found.site.file).name, found.site.line) == ("bridge.py", line_of(line))
    if per_cycle is not None:
        assert found.per_cycle == pytest.approx(per_cycle, rel=0.15)
    assert (result.state, result.exit_code) == ("leaking", 1)
    assert result.calls.failed == 0


@pytest.mark.parametrize(
    ("leak", "resource", "line", "detail"),
    [
        ("thread_timer", "threads", "threading.Timer(", ""),
        ("signal", "listeners", "HUNG_UP.connect(", ""),
        ("child", "children", "subprocess.Popen(", ""),
        ("temp_file", "temp_files", "NamedTemporaryFile(", "file $TMPDIR/bridge-* +1.00 a call"),
        ("event", "fds", "", "eventfd +1.00 a call"),
        ("generator", "async_generators", "yield number", ""),
    ],
)
def test_other_things_that_stay_are_counted_and_told_by_kind(
    bridge: Bridge, leak: str, resource: str, line: str, detail: str
) -> None:
    result = run(bridge(leak, settle=0.5, cycles=24, scenario="voicemail"))
    assert len(result.findings) == 1, in_full(result)
    (found,) = result.findings
    assert (str(found.resource), found.per_cycle) == (resource, 1.0), in_full(result)
    assert (found.site.line if found.site is not None else 0) == (line_of(line) if line else 0), in_full(result)
    assert found.detail == detail


def test_a_line_is_found_though_no_call_succeeds_while_the_server_is_watched(bridge: Bridge) -> None:
    result = run(bridge("shy", settle=0.5, cycles=24))
    assert len(result.findings) == 1, in_full(result)
    (found,) = result.findings
    assert found.site is not None
    assert (found.resource, found.per_cycle, found.site.line) == ("timers", 1.0, line_of("call_later(7200, print)"))
    # By when the server sees that it is watched, a fast caller may have said all that it has to say.
    closed = {"the server closed 1011 during step 1 (Say)", "the server closed 1011 during step 3 (Listen)"}
    assert set(result.calls.failures) & closed, in_full(result)
    assert set(result.calls.failures) <= closed, in_full(result)


def test_calls_become_slower_when_a_server_misses_what_fast_callers_say(bridge: Bridge) -> None:
    result = run(bridge("deaf", speed=20.0, cycles=24, warmup=4))
    assert result.state == "clean", in_full(result)
    sessions = sum(1 for row in result.seen if row.kind == "realtime")
    assert 0 < sessions - result.calls.made + result.calls.failed <= 16, in_full(result)  # batches made again


def test_a_registry_that_grows_is_named(bridge: Bridge) -> None:
    result = run(bridge("registry", settle=0.5, cycles=24, scenario="voicemail"))
    (found,) = result.findings
    assert found.kept_in == ("__main__.BY_CALL (+1.00 a call)",), in_full(result)


def test_a_text_that_grows_has_its_line_and_its_name(bridge: Bridge) -> None:
    result = run(bridge("text", settle=0.5, cycles=48, scenario="voicemail"))
    (found,) = result.findings
    assert found.site is not None, in_full(result)
    assert (found.resource, found.site.line) == ("heap", line_of("NOTES += ")), in_full(result)
    assert found.per_cycle == pytest.approx(760, rel=0.05)
    assert found.kept_in == ("__main__.NOTES (+760 B a call)",), in_full(result)


@pytest.mark.parametrize(
    ("leak", "loop"),
    [
        ("hang", ""),
        ("model_socket", "uvloop"),
        pytest.param("hang", "uvloop", marks=pytest.mark.thorough),
        pytest.param("model_socket", "", marks=pytest.mark.thorough),
    ],
)
def test_a_model_socket_that_is_left_open_is_one_finding_on_either_loop(bridge: Bridge, leak: str, loop: str) -> None:
    result = run(bridge(leak, loop=loop, settle=1.0))
    (found,) = result.findings
    assert (found.resource, found.per_cycle) == ("connections", 1.0), in_full(result)
    assert line_of("model = await connect(") in [site.line for site in found.sites]
    assert {"sockets", "tasks", "timers", "heap"} <= {c.resource for c in found.companions}


@pytest.fixture(scope="module")
def sound(bridge_in: Bridge, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunResult, list[int]]:
    """A soak of the bridge without a leak, and the processes that it started as the server."""
    pids: list[int] = []
    entered = Sut.__aenter__

    async def remember(self: Sut) -> Sut:
        await entered(self)
        pids.append(self.pid)
        return self

    settings = bridge_in(tmp_path_factory.mktemp("sound"), "none", env={"SECRET": "hunter2"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sut, "__aenter__", remember)
        return run(settings), pids


def test_a_server_that_leaks_nothing_is_clean(sound: tuple[RunResult, list[int]]) -> None:
    result, _ = sound
    assert (result.state, result.exit_code, result.findings) == ("clean", 0, ()), in_full(result)
    assert {g.resource for g in result.growths} == {
        *("connections", "sockets", "tasks", "threads", "timers", "listeners", "fds", "children"),
        *("async_generators", "temp_files", "garbage", "objects", "heap", "rss"),
    }
    assert result.unmeasured == {}


def test_the_journal_holds_every_sample_and_the_result(sound: tuple[RunResult, list[int]]) -> None:
    result, _ = sound
    lines = (Path(result.directory) / "journal.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert records[0]["kind"] == "run"
    assert records[0]["scenario"]["name"] == "question"
    assert records[0]["settings"]["env"] == ["SECRET"]
    assert not any("hunter2" in line for line in lines)
    assert [r["cycles"] for r in records if r["kind"] == "sample"] == [s.cycles for s in result.samples]
    assert records[-1]["kind"] == "result"
    assert records[-1]["state"] == "clean"
    assert (Path(result.directory) / "sut.log").is_file()


def test_the_sut_is_gone_after_the_run(sound: tuple[RunResult, list[int]]) -> None:
    _, pids = sound
    assert len(pids) == 1
    assert not psutil.pid_exists(pids[0])


def waited_for(result: RunResult) -> set[str]:
    return {growth.resource for growth in result.growths if "was gone" in growth.note}


def test_what_goes_away_by_itself_is_no_leak(bridge: Bridge) -> None:
    result = run(bridge("slow_cleanup", settle=10.0, cycles=24, scenario="voicemail"))
    assert result.state == "clean", in_full(result)
    assert "timers" in waited_for(result), in_full(result)


def test_what_goes_away_one_by_one_is_waited_for_longer_than_the_settings_say(bridge: Bridge) -> None:
    result = run(bridge("one_by_one", settle=3.0))
    assert result.state == "clean", in_full(result)
    assert "timers" in waited_for(result), in_full(result)


def test_what_a_few_calls_after_a_rest_keep_for_a_while_is_no_leak(bridge: Bridge) -> None:
    result = run(bridge("lingers", settle=4.0))
    assert result.state == "clean", in_full(result)


@pytest.mark.parametrize("scenario", ["early_hang_up", "hang_up_while_speaking", "drop"])
def test_edge_paths_of_a_sound_server_are_clean(bridge: Bridge, scenario: str) -> None:
    result = run(bridge("none", scenario=scenario))
    assert result.state == "clean", in_full(result)
    assert result.calls.failed == 0


def test_the_model_fails_as_the_settings_say(bridge: Bridge) -> None:
    result = run(bridge("none", faults=("status(code=503)@realtime",)))
    assert result.state == "clean", in_full(result)
    assert set(result.calls.failures) == {"the server closed 1011 during step 1 (Say)"}
    assert result.calls.failed == result.calls.made


def test_callers_fail_as_the_settings_say(bridge: Bridge) -> None:
    faults = ("reset@media-stream/media %20", "close(code=1001)@media-stream/start %20", "cut@realtime/no.such.event")
    result = run(bridge("none", faults=faults))
    assert result.state == "clean", in_full(result)
    assert result.notes == ("the fault cut@realtime/no.such.event never struck",)


def test_a_server_without_an_agent_is_judged_from_outside(bridge: Bridge) -> None:
    settings = bridge("model_socket", settle=1.0)
    python, script = settings.sut.split(" ", 1)
    result = run(replace(settings, sut=f"{python} -E {script}"))
    (found,) = result.findings
    assert (found.resource, found.per_cycle, found.site) == ("connections", 1.0, None)
    assert set(result.unmeasured) == {
        *("heap", "objects", "timers", "tasks", "listeners", "async_generators", "garbage")
    }


def test_a_taken_port_is_refused_before_anything_starts(bridge: Bridge, tmp_path: Path) -> None:
    async def main() -> None:
        server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            settings = bridge("none")
            await soak(replace(settings, url=f"ws://127.0.0.1:{port}/"))

    with pytest.raises(UsageError, match="already listens"):
        asyncio.run(main())
    assert not (tmp_path / "runs").exists()


def test_a_server_killed_in_mid_run_ends_the_run_with_one_clear_line(bridge: Bridge) -> None:
    class Killer:
        def __init__(self) -> None:
            self.samples = 0

        def phase(self, name: str) -> None:
            pass

        def calls(self, done: int, total: int) -> None:
            pass

        def suspicion(self, growth: object) -> None:
            pass

        def sample(self, sample: object) -> None:
            self.samples += 1
            if self.samples == 3:
                (server,) = (p for p in psutil.Process().children() if any("bridge.py" in w for w in p.cmdline()))
                os.kill(server.pid, 9)

    with pytest.raises(RunError, match=r"the SUT ended after \d+ calls: it was killed by SIGKILL"):
        asyncio.run(soak(bridge("none"), Killer()))
    assert psutil.Process().children() == []


def test_a_server_that_cannot_reach_the_model_says_what_to_look_at(bridge: Bridge) -> None:
    settings = bridge("none", env={"OPENAI_REALTIME_URL": "ws://127.0.0.1:9/v1/realtime"})
    with pytest.raises(RunError, match=r"no call of 4 went as scripted: .*OPENAI_REALTIME_URL"):
        run(settings)


def test_a_path_that_the_server_does_not_have_is_told(bridge: Bridge) -> None:
    settings = bridge("none")
    http_only = (
        "import http.server as h, sys; "
        "h.HTTPServer(('127.0.0.1', int(sys.argv[1])), h.BaseHTTPRequestHandler).serve_forever()"
    )
    with pytest.raises(RunError, match=re.escape("refused: HTTP 501")):
        run(replace(settings, sut=f'{sys.executable} -c "{http_only}" {{port}}'))
