import json
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from leakline.harness.data.model import CallStats, Companion, Finding, Growth, RunResult, Sample, Site, State
from leakline.reports.ci import FORMATS

HOSTILE = "<script>alert(1)</script>\x1b[31m%0A::error::|`*_"


def result(function: str = "CallSession._listen") -> RunResult:
    growth = Growth("listeners", "leaking", 5.0, 5.0, 5.0, True, 96, 13)
    site = Site("restaurant/bridge.py", 138, function, "events.on(name, listener)")
    found = Finding("listeners", 5.0, growth, (site,), (Companion("heap", 39_000.0, "held"),))
    growths = (
        growth,
        Growth("heap", "leaking", 39_000.0, 38_000.0, 40_000.0, False, 96, 13),
        Growth("rss", "inconclusive", 9.0, 0.0, 9.0, False, 96, 13, "it grows"),
    )
    samples = (Sample(0, 0.0, {"listeners": 1.0, "heap": 15_740_496.0, "rss": 0.5}),)
    return RunResult("grill", "two_burgers", "leaking", CallStats(96, 96), 12.0, growths, (found,), samples)


def without_findings(state: State) -> RunResult:
    whole = result()
    growth = whole.growths[2] if state == "inconclusive" else replace(whole.growths[2], state="clean")
    return replace(whole, state=state, findings=(), growths=(growth,), notes=("a note",))


def test_junit_has_a_case_a_resource() -> None:
    suite = ET.fromstring(FORMATS["junit"](result()))  # noqa: S314  (our own)
    assert suite.attrib | {"time": ""} == {
        "name": "leakline grill two_burgers",
        "time": "",
        "tests": "4",
        "failures": "3",
        "skipped": "1",
        "errors": "0",
    }
    failure = suite.find("testcase[@name='listeners']/failure")
    assert failure is not None
    assert "restaurant/bridge.py:138" in (failure.text or "")
    assert suite.find("testcase[@name='rss']/skipped") is not None
    outcome = suite.find("testcase[@name='outcome']/failure")
    assert outcome is not None
    assert outcome.get("message") == "Leaking: listeners +5.00 a call in CallSession._listen"


@pytest.mark.parametrize(("state", "errors", "outcome"), [("clean", "0", []), ("inconclusive", "1", ["error"])])
def test_junit_of_a_run_that_cannot_be_told_is_an_error_and_of_a_clean_one_is_not(
    state: State, errors: str, outcome: list[str]
) -> None:
    suite = ET.fromstring(FORMATS["junit"](without_findings(state)))  # noqa: S314  (our own)
    assert (suite.get("errors"), suite.get("failures"), suite.get("tests")) == (errors, "0", "2")
    case = suite.find("testcase[@name='outcome']")
    assert case is not None
    assert [each.tag for each in case] == outcome
    assert [each.text for each in case] == ["rss  +9 B a call: it grows\na note"] * len(outcome)


def test_a_github_annotation_is_on_the_line() -> None:
    text = FORMATS["github"](result())
    assert text.startswith(
        "::error file=restaurant/bridge.py,line=138,title=leakline%3A listeners::listeners  +5.00 a call"
    )
    assert text.count("\n") == 1


def test_sarif_has_the_line() -> None:
    (found,) = json.loads(FORMATS["sarif"](result()))["runs"][0]["results"]
    place = found["locations"][0]["physicalLocation"]
    assert (place["artifactLocation"]["uri"], place["region"]["startLine"]) == ("restaurant/bridge.py", 138)


def test_github_warns_of_a_run_that_cannot_be_told_and_says_nothing_of_a_clean_one() -> None:
    assert FORMATS["github"](without_findings("inconclusive")) == (
        "::warning title=leakline%3A inconclusive::Inconclusive: whether it leaks cannot be told"
        "%0Arss  +9 B a call: it grows%0Aa note\n"
    )
    assert FORMATS["github"](without_findings("clean")) == ""


def test_sarif_has_a_warning_of_a_run_that_cannot_be_told_and_nothing_of_a_clean_one() -> None:
    (found,) = json.loads(FORMATS["sarif"](without_findings("inconclusive")))["runs"][0]["results"]
    assert (found["ruleId"], found["level"]) == ("inconclusive", "warning")
    assert "rss  +9 B a call: it grows\na note" in found["message"]["text"]
    assert json.loads(FORMATS["sarif"](without_findings("clean")))["runs"][0]["results"] == []


def test_every_sarif_result_has_a_place_also_one_whose_line_is_not_known() -> None:
    whole = result()
    placeless = replace(whole, findings=(replace(whole.findings[0], sites=()), *whole.findings))
    spaced = replace(placeless, findings=(*placeless.findings, at("my app/50%.py")))
    results = json.loads(FORMATS["sarif"](spaced))["runs"][0]["results"]
    places = [each["locations"][0]["physicalLocation"] for each in results]
    assert [each["artifactLocation"]["uri"] for each in places] == [
        "pyproject.toml",
        "restaurant/bridge.py",
        "my%20app/50%25.py",
    ]
    assert [each["region"]["startLine"] for each in places] == [1, 138, 7]


def at(file: str) -> Finding:
    return replace(result().findings[0], sites=(Site(file, 7, "f"),))


def test_a_leak_of_a_resource_that_has_no_growth_of_its_own_fails_its_own_case() -> None:
    suite = ET.fromstring(FORMATS["junit"](replace(result(), growths=())))  # noqa: S314  (our own)
    assert [case.get("name") for case in suite] == ["listeners", "heap", "outcome"]
    assert suite.get("failures") == "3"


def test_csv_has_a_column_a_resource() -> None:
    assert FORMATS["csv"](result()) == "cycles,listeners,heap,rss\n0,1,15740496,0.5\n"


def test_json_has_a_version() -> None:
    data = json.loads(FORMATS["json"](result()))
    assert (data["version"], data["exit_code"], data["findings"][0]["resource"]) == (1, 1, "listeners")


@pytest.mark.parametrize("name", FORMATS)
def test_hostile_names_stay_text(name: str) -> None:
    text = FORMATS[name](result(HOSTILE))
    assert "\x1b" not in text
    if name == "junit":
        failure = ET.fromstring(text).findtext(".//failure") or ""  # noqa: S314  (our own)
        assert HOSTILE.replace("\x1b", "\N{REPLACEMENT CHARACTER}") in failure
    if name == "github":
        assert text.count("\n") == 1
    if name == "markdown":
        assert "<script>" not in text
