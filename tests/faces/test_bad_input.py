"""Whatever is given, by hand or in a file: an error that says what was expected, and never a traceback."""

import json
import string
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leakline import cli
from leakline.fakes.faults import FaultError, parse_rule
from leakline.harness.data.errors import LeaklineError, UsageError
from leakline.harness.data.model import CallStats, Companion, Finding, Frame, Growth, Level, RunResult, Sample, Site
from leakline.harness.judge.thresholds import parse as parse_threshold
from leakline.harness.run import stored
from leakline.harness.run.journal import FILE_NAME
from leakline.harness.run.settings import SoakSettings, make
from leakline.reports.ci import FORMATS
from leakline.scenarios import Agent, Browser, HangUp, Network, Pause, Press, Say, Scenario, ScenarioError, Send, load

FEW = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**12), 10**12),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["", "0"]),
)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)
OPTIONS = [p for p in cli.soak_command.params if p.param_type_name == "option" and not getattr(p, "is_flag", False)]

GROWTH = Growth("timers", "leaking", 1.0, 1.0, 1.0, True, 96, 13, "")
SITE = Site("app.py", 3, "f", "g()", ((2, "a"), (3, "g()")))
STACK = (Frame("/app.py", 3, "f", "user"),)
FINDING = Finding("timers", 1.0, GROWTH, (SITE,), (Companion("heap", 9.0, "held"),), STACK, "", ("K",), ("T +1",))
HIGH = Finding("wakeups", 9.0, Level("wakeups", "leaking", 9.0, 1.0, "high"))
RESULT = RunResult(
    "s", "question", "leaking", CallStats(9, 8, {"x": 1}), 2.0, (GROWTH,), (FINDING, HIGH),
    (Sample(0, 0.0, {"timers": 1.0}), Sample(8, 1.0, {"timers": 9.0})), allowed=((FINDING, "known"),),
)  # fmt: skip


def invoked(*arguments: str) -> Any:
    return CliRunner().invoke(cli.cli, ["soak", "--sut", "no-such-program", "--url", "ws://127.0.0.1:1/", *arguments])


@pytest.mark.parametrize("option", [option.opts[0] for option in OPTIONS])
def test_no_value_of_an_option_is_a_traceback(option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    @FEW
    @given(st.text(max_size=20) | SCALARS.map(str))
    def run(value: str) -> None:
        if "\0" in value:
            return  # cannot be an argument
        done = invoked(f"{option}={value}")
        assert isinstance(done.exception, SystemExit | LeaklineError), done.exception
        assert done.exit_code in (1, 2)

    run()


def _says(error: Exception) -> None:
    assert str(error)


def literal(value: Any) -> str:
    return (
        json.dumps(value)
        if not isinstance(value, float) or (value == value and abs(value) != float("inf"))
        else "nan"
    )


@FEW
@given(
    st.dictionaries(
        st.sampled_from([*SoakSettings.__dataclass_fields__, "nope"]),
        SCALARS.filter(lambda value: value is not None) | st.lists(st.text(max_size=5)),
        max_size=4,
    )
)
def test_no_file_of_settings_is_a_traceback(tmp_path: Path, table: dict[str, Any]) -> None:
    text = "\n".join(f"{name} = {literal(value)}" for name, value in table.items())
    (tmp_path / "leakline.toml").write_text(text, encoding="utf-8", errors="replace")
    try:
        make({"sut": "true", "url": "ws://127.0.0.1:1/"}, tmp_path).policy()
    except UsageError as error:
        _says(error)


@FEW
@given(ANYTHING, ANYTHING)
def test_no_budget_and_no_known_leak_is_a_traceback(budgets: Any, allow: Any) -> None:
    try:
        SoakSettings(sut="true", url="ws://127.0.0.1:1/", budgets=budgets, allow=allow).policy()
    except UsageError as error:
        _says(error)


@FEW
@given(
    st.text(max_size=8) | SCALARS,
    st.lists(
        st.builds(Say, SCALARS, SCALARS) | st.builds(Pause, SCALARS) | st.builds(Press, SCALARS)
        | st.builds(Send, SCALARS) | st.just(HangUp()) | st.builds(Agent, SCALARS, seconds=SCALARS) | SCALARS,
        max_size=4,
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "faults": st.lists(st.text(max_size=12)).map(tuple),
            "network": st.none() | st.builds(Network, SCALARS, SCALARS),
            "browser": st.none() | st.builds(Browser, SCALARS, st.text(max_size=5), st.text(max_size=5)),
            "restart_after_s": SCALARS,
            "refusable": st.booleans(),
        },
    ),
)  # fmt: skip
def test_no_scenario_is_a_traceback(name: Any, steps: list[Any], fields: dict[str, Any]) -> None:
    try:
        made = Scenario(name, *steps, **fields)
    except ScenarioError as error:
        _says(error)
    else:
        assert made.model_script is not None
        json.dumps(made.to_json())


@FEW
@given(st.text(max_size=60))
def test_no_scenario_file_is_a_traceback(tmp_path: Path, text: str) -> None:
    file = tmp_path / "calls.py"
    file.write_text(text, encoding="utf-8", errors="replace")
    with pytest.raises(ScenarioError):
        load(f"{file}:nope")


@FEW
@given(st.text(alphabet=string.printable, max_size=40))
def test_no_fault_and_no_threshold_is_a_traceback(text: str) -> None:
    for parse, error in ((parse_rule, FaultError), (parse_threshold, UsageError)):
        try:
            parse(text)
        except error as said:
            _says(said)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in inner for place in places(each, (*path, key)))]


def replaced(value: Any, path: tuple[Any, ...], by: Any) -> Any:
    if not path:
        return by
    copy = value.copy()
    copy[path[0]] = replaced(value[path[0]], path[1:], by)
    return copy


RECORDS: list[Any] = [
    {"kind": "run", "settings": {"sut": "s", "name": ""}, "scenario": {"name": "question"}, "about": {}},
    {"kind": "sample", "cycles": 0, "values": {"timers": 1.0}},
    {"kind": "sample", "cycles": 8, "values": {"timers": 9.0}},
    json.loads(json.dumps({"kind": "result", **RESULT.to_json()})),
]


@FEW
@given(data=st.data(), whole=st.booleans())
def test_no_journal_is_a_traceback(tmp_path: Path, data: st.DataObject, whole: bool) -> None:
    records = RECORDS if whole else RECORDS[:3]
    place = data.draw(st.sampled_from(places(records)[1:]))
    changed = replaced(records, place, data.draw(ANYTHING))
    lines = [json.dumps(record) for record in changed]
    (tmp_path / FILE_NAME).write_text("\n".join(lines)[: data.draw(st.sampled_from([None, -5]))] + "\n")
    try:
        result = stored.load(tmp_path)
    except UsageError as error:
        _says(error)
        return
    for write in FORMATS.values():
        assert isinstance(write(result), str)


def test_an_unchanged_journal_reads_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    assert stored.load(tmp_path) == RESULT
    (tmp_path / FILE_NAME).write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="cannot be read"):
        stored.load(tmp_path)


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize(
    "arguments",
    [
        ("report", "."),
        ("baseline", "nope"),
        ("compare", ".", "nope"),
        ("load", "--users", "x"),
        ("watch", "--pid", "x"),
    ],
)
def test_commands_on_what_is_not_there_say_so(arguments: tuple[str, ...], command_line: Run) -> None:
    done = command_line(*arguments)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
