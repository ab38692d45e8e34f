import json
import xml.etree.ElementTree as ET

import pytest

from leakline.harness.data.model import CallStats, Companion, Finding, Growth, RunResult, Sample, Site
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


def test_junit_has_a_case_a_resource() -> None:
    suite = ET.fromstring(FORMATS["junit"](result()))  # noqa: S314  (our own)
    assert suite.attrib | {"time": ""} == {
        "name": "leakline grill two_burgers",
        "time": "",
        "tests": "3",
        "failures": "2",
        "skipped": "1",
        "errors": "0",
    }
    failure = suite.find("testcase[@name='listeners']/failure")
    assert failure is not None
    assert "restaurant/bridge.py:138" in (failure.text or "")
    assert suite.find("testcase[@name='rss']/skipped") is not None


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
        told = ET.fromstring(text).findtext(".//failure") or ""  # noqa: S314  (our own)
        assert HOSTILE.replace("\x1b", "\N{REPLACEMENT CHARACTER}") in told
    if name == "github":
        assert text.count("\n") == 1
    if name == "markdown":
        assert "<script>" not in text
