import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from leakline.harness.data.model import (
    CallStats,
    Companion,
    Finding,
    Growth,
    Level,
    Resource,
    RunResult,
    Sample,
    Site,
)
from leakline.harness.judge import budgets
from leakline.harness.judge.compare import compare
from leakline.harness.run import stored
from leakline.reports.text import difference_line

Run = Callable[..., subprocess.CompletedProcess[str]]


def finding(
    resource: Resource = "timers",
    rate: float = 1.0,
    *,
    line: int = 7,
    function: str = "leak",
    file: str = "app.py",
    text: str = "call_later()",
    spread: float = 0.0,
) -> Finding:
    growth = Growth(resource, "leaking", rate, rate - spread, rate + spread, spread == 0, 96, 13)
    return Finding(resource, rate, growth, (Site(file, line, function, text),))


def result(*findings: Finding, scenario: str = "question") -> RunResult:
    growths = tuple(f.growth for f in findings if isinstance(f.growth, Growth))
    samples = (Sample(0, 0.0, {"timers": 1.0}), Sample(8, 1.0, {"timers": 9.0}))
    state = "leaking" if findings else "clean"
    return RunResult("app", scenario, state, CallStats(96, 96), 9.0, growths, findings, samples)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("before", "after", "kinds"),
    [
        ([], [finding()], ["new"]),
        ([finding()], [], ["gone"]),
        ([finding()], [finding()], ["same"]),
        ([finding()], [finding(line=90)], ["same"]),  # the code has moved
        (
            [finding()],
            [finding(file="other.py", function="renamed")],
            ["same"],
        ),  # to another file, under another name
        ([finding()], [finding(rate=2.0)], ["worse"]),
        ([finding(rate=2.0)], [finding()], ["better"]),
        ([finding("heap", 1000.0, spread=100)], [finding("heap", 1080.0, spread=100)], ["same"]),
        ([finding("heap", 1000.0, spread=100)], [finding("heap", 2000.0, spread=100)], ["worse"]),
        ([finding()], [finding("tasks"), finding(function="other", text="x")], ["new", "new", "gone"]),
    ],
)
def test_two_runs_are_compared_leak_by_leak(before: list[Finding], after: list[Finding], kinds: list[str]) -> None:
    differences = compare(result(*before), result(*after))
    assert [d.kind for d in differences] == kinds
    assert any(d.is_regression for d in differences) == bool({"new", "worse"} & set(kinds))


def test_what_the_later_run_permits_is_neither_gone_nor_a_regression() -> None:
    before = result(finding(), finding("tasks"))
    permitted = ((finding(), "JIRA-1"), (finding("tasks", rate=3.0), "JIRA-2"), (finding("fds"), "JIRA-3"))
    after = replace(result(), allowed=permitted)
    assert [(d.kind, d.finding.resource) for d in compare(before, after)] == [("same", "timers")]
    assert [d.kind for d in compare(replace(before, findings=(), allowed=permitted), result(finding("fds")))] == [
        "same",
        "gone",
        "gone",
    ]


def test_a_difference_says_where_and_how_much() -> None:
    (difference,) = compare(result(finding()), result(finding(rate=3.0)))
    assert difference_line(difference) == "worse   timers  +1.00 -> +3.00 a call  app.py:7  leak"


def test_amounts_have_units() -> None:
    policy = budgets.parse({"heap": "2 KiB/call", "rss": "1.5 MiB"}, [])
    assert (policy.limit("any", "heap"), policy.limit("any", "rss")) == (2048.0, 1.5 * 1024**2)


def test_a_result_comes_back_from_its_json(tmp_path: Path) -> None:
    level = Level("wakeups", "leaking", 6000.0, 1800.0, "6,000 a minute")
    whole = result(finding(), Finding("wakeups", 6000.0, level))
    journal = tmp_path / "journal.jsonl"
    journal.write_text(json.dumps({"kind": "result", **whole.to_json()}) + "\n")
    assert stored.load(tmp_path) == whole


def test_a_run_that_was_cut_off_still_has_its_samples(tmp_path: Path) -> None:
    records: list[dict[str, Any]] = [{"kind": "run", "settings": {"sut": "python app.py"}, "scenario": {"name": "q"}}]
    records += [{"kind": "sample", "cycles": 8 * n, "values": {"timers": 1.0 + n}} for n in range(9)]
    (tmp_path / "journal.jsonl").write_text("\n".join(json.dumps(r) for r in records) + '\n{"kind": "samp')
    seen = stored.load(tmp_path)
    assert (seen.state, len(seen.samples), seen.growths[0].per_cycle) == ("inconclusive", 9, 0.125)
    assert seen.notes == ("the run did not come to its end: it was cut off",)


@pytest.mark.parametrize("text", ["", "{}", "nonsense", "[1]\n[2]", '{"kind": "result"}', '{"kind": "run"}\n'])
def test_what_is_no_run_is_refused_in_words(tmp_path: Path, text: str, command_line: Run) -> None:
    file = tmp_path / "x.json"
    file.write_text(text)
    done = command_line("report", str(file))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"leakline: {file}")
    assert "Traceback" not in done.stderr


def test_compare_and_baseline_on_the_command_line(tmp_path: Path, command_line: Run) -> None:
    for name, findings in (("a", [finding()]), ("b", [finding(), finding("tasks", function="other")])):
        (tmp_path / name).write_text(json.dumps({"kind": "result", **result(*findings).to_json()}) + "\n")
    worse, better = command_line("compare", "a", "b"), command_line("compare", "b", "a")
    assert (worse.returncode, better.returncode) == (1, 0)
    assert worse.stdout.startswith("new     tasks  none -> +1.00 a call  app.py:7  other")
    assert command_line("baseline", "a").returncode == 0
    assert command_line("compare", "leakline-baseline.json", "a").returncode == 0


def test_another_resource_at_the_same_place_is_worse_and_its_line_comes_first() -> None:
    before = finding("tasks")
    sites = (before.sites[0], Site("app.py", 9, "leak", "new_timer()"))
    after = replace(before, sites=sites, companions=(Companion("timers", 2.0, "same function"),))
    (difference,) = compare(result(before), result(after))
    assert difference.kind == "worse"
    assert difference.finding.sites[0].text == "new_timer()"
    assert difference_line(difference).endswith("app.py:9  leak  now with timers +2.00 a call")
    memory = replace(before, companions=(Companion("heap", 2000.0, "held"),))
    assert [d.kind for d in compare(result(before), result(memory))] == ["same"]
