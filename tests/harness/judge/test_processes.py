"""Servers of several processes: counted in sum and for each, and the line found whichever process it is in."""

import asyncio
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from leakline.harness.data.model import Finding, Growth, RunResult, Sample
from leakline.harness.judge.processes import by_process
from leakline.harness.measure import descriptors, process
from leakline.harness.measure.agents import survey_of
from leakline.harness.run.settings import SoakSettings
from leakline.harness.run.soak import soak
from leakline.reports.text import in_full

SUTS = Path(__file__).parents[2] / "suts"
WORKERS = {
    "uvicorn": "-m uvicorn --app-dir {suts} workers:app --workers 2 --log-level warning --port {{port}}",
    "gunicorn": "-m gunicorn --chdir {suts} workers:app -w 2 -k uvicorn_worker.UvicornWorker "
    "--no-control-socket -b 127.0.0.1:{{port}}",
}


def run(tmp_path: Path, **given: object) -> RunResult:
    settings = {"warmup": 8, "concurrency": 4, "cycles": 32, "settle": 0.5, "speed": 20.0, "scenario": "voicemail"}
    return asyncio.run(soak(SoakSettings(**settings, **given, runs=str(tmp_path))))  # type: ignore[arg-type]


@pytest.mark.parametrize("server", WORKERS)
@pytest.mark.parametrize("leak", ["", "1"])
def test_workers_are_counted_in_sum_and_each(server: str, leak: str, suts_python: str, tmp_path: Path) -> None:
    result = run(
        tmp_path,
        sut=f"{shlex.quote(suts_python)} {WORKERS[server].format(suts=SUTS)}",
        url="ws://127.0.0.1:{port}/media-stream",
        env={"LEAK": leak},
        code=(str(SUTS),),
    )
    assert not result.unmeasured, in_full(result)
    if not leak:
        assert result.state == "clean", in_full(result)
        return
    (found,) = result.findings
    assert found.resource == "tasks", in_full(result)
    assert found.growth.exact, in_full(result)  # type: ignore[union-attr]
    assert found.site is not None
    assert found.site.function == "leak_one", in_full(result)
    busy = [each for each in found.processes if each.grown]
    assert len(busy) == 2, in_full(result)
    assert sum(each.grown for each in busy) == 32
    assert len(result.samples[-1].processes) >= 3
    total = sum(values.get("tasks", 0.0) for values in result.samples[-1].processes.values())
    assert total == result.samples[-1].values["tasks"]


def test_a_cluster_of_node_is(node_modules: Path, tmp_path: Path) -> None:
    result = run(tmp_path, sut=f"node {node_modules / 'cluster.mjs'} {{port}} timer", url="ws://127.0.0.1:{port}/")
    (found,) = result.findings
    assert found.site is not None
    assert (found.resource, found.site.function) == ("timers", "timer"), in_full(result)
    assert [each.grown > 0 for each in found.processes] == [True, True, False], in_full(result)


def test_growth_is_reported_by_process_and_begins_with_nothing_in_one_that_was_started_meanwhile() -> None:
    found = Finding("tasks", 1.0, Growth("tasks", "leaking", 1.0, 1.0, 1.0, True, 8, 9))
    first = Sample(0, 0.0, {"tasks": 3.0}, {"41": {"tasks": 1.0}, "42": {"tasks": 2.0}})
    last = Sample(8, 1.0, {"tasks": 12.0}, {"41": {"tasks": 2.0}, "43": {"tasks": 10.0}, "44": {"rss": 1.0}})
    (of_two,) = by_process([found], [first, last])
    assert [(each.pid, each.grown) for each in of_two.processes] == [(43, 10.0), (41, 1.0)]
    (alone,) = by_process([found], [Sample(0, 0.0, {"tasks": 3.0})])
    assert alone.processes == ()


def test_what_one_place_made_in_several_processes_is_one_row() -> None:
    stack = [{"file": "a.py", "line": 1, "function": "f", "kind": "user"}]
    answer = {
        "resources": {"tasks": [{"count": 4, "stack": stack, "retained_bytes": 100}]},
        "heap": [{"count": 4, "bytes": 50, "stack": stack}],
        "containers": [{"owner": "a.KEPT", "grown": 4, "code": "user"}],
        "types": [{"type": "a.C", "count": 4}],
    }
    survey = survey_of([answer, answer], 8)
    (row,) = survey.made["tasks"]
    assert (row.count, row.size_bytes) == (8, 200)
    assert survey.allocated_per_cycle == 12.5
    assert [(each.owner, each.per_cycle) for each in survey.retainers] == [("a.KEPT", 1.0)]
    assert survey.types == {"a.C": 1.0}


def test_what_the_operating_system_does_not_show_is_reported_as_not_measured(
    bridge: Callable[..., SoakSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for probe in (process, descriptors):
        monkeypatch.setattr(probe, "_PROC", tmp_path / "no-proc")  # as on macOS
    result = asyncio.run(soak(bridge("model_socket", cycles=16, settle=0.5, peak=True, scenario="voicemail")))
    assert {found.resource for found in result.findings} == {"connections"}, in_full(result)
    assert result.unmeasured == dict.fromkeys(("wakeups", "peak_heap"), "the operating system does not report it")
    assert {"fds", "sockets", "threads", "rss"} <= result.samples[0].values.keys()
