"""Small Node servers of another kind than the restaurant, each with one planted leak, soaked as they are."""

import asyncio
import base64
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from leakline.harness.data.model import RunResult
from leakline.harness.run.settings import SoakSettings
from leakline.harness.run.soak import soak
from leakline.reports.text import in_full

Soak = Callable[..., RunResult]


@pytest.fixture
def soaked(node_modules: Path, tmp_path: Path) -> Soak:
    def run(leak: str, framework: str = "", **more: object) -> RunResult:
        given = {
            "sut": f"node {node_modules / 'bridge.mjs'} {{port}} {leak} {framework}",
            "url": "ws://127.0.0.1:{port}/",
            "runs": str(tmp_path / "runs"),
            "cycles": 24,
            "warmup": 6,
            "concurrency": 3,
            "speed": 20.0,
            "settle": 0.5,
            "scenario": "voicemail",
            **more,
        }
        return asyncio.run(soak(SoakSettings(**given)))  # type: ignore[arg-type]

    return run


def line_of(node_modules: Path, text: str) -> int:
    lines = (node_modules / "bridge.mjs").read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


@pytest.mark.parametrize(
    ("leak", "framework", "resource", "text"),
    [
        pytest.param("timer", "", "timers", "timer() {", marks=pytest.mark.thorough),
        ("interval", "fastify", "timers", "interval() {"),
        ("listener", "", "listeners", "listener() {"),
        pytest.param("abort_listener", "", "listeners", "abort_listener() {", marks=pytest.mark.thorough),
        ("promise", "", "promises", "async function forever() {"),
        pytest.param("file", "", "fds", "file() {", marks=pytest.mark.thorough),
        pytest.param("watcher", "", "handles", "watcher() {", marks=pytest.mark.thorough),
        pytest.param(
            "model_socket", "fastify", "connections", "const model = new WebSocket(", marks=pytest.mark.thorough
        ),
    ],
)
def test_a_planted_leak_is_one_finding_on_its_line(
    soaked: Soak, node_modules: Path, leak: str, framework: str, resource: str, text: str
) -> None:
    result = soaked(leak, framework)
    (found,) = result.findings
    assert str(found.resource) == resource, in_full(result)
    assert found.site is not None, in_full(result)
    assert found.site.line == line_of(node_modules, text), in_full(result)
    growth = next(g for g in result.growths if g.resource == resource)
    assert growth.per_cycle == pytest.approx(1.0), in_full(result)


def test_what_is_kept_in_a_map_is_named_by_it(soaked: Soak) -> None:
    result = soaked("map")
    (found,) = result.findings
    assert found.resource in ("objects", "heap"), in_full(result)
    assert found.kept_in == ("byCall (+1.00 a call)",), in_full(result)


def test_memory_outside_of_the_heap_counts(soaked: Soak) -> None:
    result = soaked("buffer")
    heap = next(g for g in result.growths if g.resource == "heap")
    assert heap.state == "leaking", in_full(result)
    assert heap.per_cycle == pytest.approx(100_000, rel=0.3)


def test_a_text_that_grows_is_found_though_it_is_no_object(soaked: Soak, node_modules: Path) -> None:
    result = soaked("text", cycles=48)
    (found,) = result.findings
    assert found.resource == "heap", in_full(result)
    assert found.per_cycle == pytest.approx(6000, rel=0.3), in_full(result)
    assert line_of(node_modules, "text() {") in [site.line for site in found.sites], in_full(result)


@pytest.mark.parametrize(
    ("leak", "framework"),
    [
        pytest.param("none", "", marks=pytest.mark.thorough),
        pytest.param("none", "fastify", marks=pytest.mark.thorough),
        ("cleared", ""),
    ],
)
def test_a_sound_server_is_clean(soaked: Soak, leak: str, framework: str) -> None:
    result = soaked(leak, framework, cycles=48)
    assert result.state == "clean", in_full(result)


@pytest.mark.parametrize("platform", ["python", "node"])
def test_a_server_with_hard_coded_hosts_is_soaked_as_it_is(platform: str, node_modules: Path, tmp_path: Path) -> None:
    """The small bridges, told in their environment to call the real host."""
    suts = Path(__file__).parents[2] / "suts"
    commands = {
        "node": f"node {node_modules / 'bridge.mjs'} {{port}} model_socket",
        "python": f"{sys.executable} {suts / 'bridge.py'} {{port}} model_socket",
    }
    result = asyncio.run(
        soak(
            SoakSettings(
                sut=commands[platform],
                url="ws://127.0.0.1:{port}/",
                env={"OPENAI_REALTIME_URL": "wss://api.openai.com/v1/realtime"},
                intercept=("api.openai.com",),
                runs=str(tmp_path / "runs"),
                scenario="voicemail",
                cycles=24,
                warmup=6,
                concurrency=3,
                speed=20.0,
                settle=0.5,
            )
        )
    )
    (found,) = result.findings
    assert (str(found.resource), found.per_cycle) == ("connections", 1.0), in_full(result)


def test_a_line_is_the_sources_where_there_is_a_source_map(node_modules: Path, soaked: Soak, tmp_path: Path) -> None:
    """The bridge as a compiler would leave it: each line comes from ten lines further down in `bridge.ts`."""
    text = (node_modules / "bridge.mjs").read_text()
    mappings = "AAUA" + ";AACA" * text.count("\n")  # base64 VLQ: column 0, source 0, line +10 and then +1, column 0
    source_map = json.dumps({"version": 3, "sources": ["bridge.ts"], "names": [], "mappings": mappings})
    encoded = base64.b64encode(source_map.encode()).decode()
    compiled = node_modules / ".bridge-compiled.mjs"  # beside the packages that it imports
    compiled.write_text(f"{text}\n//# sourceMappingURL=data:application/json;base64,{encoded}\n")
    try:
        result = soaked("timer", sut=f"node {compiled} {{port}} timer")
    finally:
        compiled.unlink()
    (found,) = result.findings
    assert found.site is not None, in_full(result)
    assert Path(found.site.file).name == "bridge.ts", in_full(result)
    assert found.site.line == line_of(node_modules, "timer() {") + 10
