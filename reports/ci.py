"""Formats for CI systems: JUnit XML, GitHub annotations and step summary, SARIF, Markdown, JSON, CSV."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import quote

from leakline.harness.data.model import RunResult
from leakline.harness.data.resources import Resource
from leakline.harness.data.words import printable
from leakline.reports import blocks
from leakline.reports.blocks import Place, Row
from leakline.reports.html import html
from leakline.reports.text import in_full, one_line, row_in_full

SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
SETTINGS_FILE = "pyproject.toml"
"""The file in which a SARIF result without a line of its own is placed."""

_MARKUP = set("\\`*_{}[]#|~")
"""Characters that Markdown may take for markup, besides those of HTML."""


def as_json(result: RunResult) -> str:
    """The whole result as JSON; `version` is that of the format, which docs/reports.md describes."""
    return json.dumps({"version": 1, **result.to_json()}, indent=2, default=str)


def junit(result: RunResult) -> str:
    """A test case for each resource, failed where it leaks and skipped where it is inconclusive; one for the outcome.

    An inconclusive outcome is an error, JUnit's word for a test without a result: with skipped cases alone, CI shows
    the run as passed.
    """
    title = f"leakline {printable(result.sut)} {printable(result.scenario)}"
    suite = ET.Element("testsuite", name=title, time=f"{result.seconds:.3f}")
    unknown = {row.names[0]: row for row in blocks.rows(result) if row.kind == "inconclusive"}
    for resource, leaks in _by_resource(result).items():
        case = _case(suite, result, resource)
        for row in leaks:
            _add(case, "failure", one_line(row), row_in_full(row))
        if not leaks and printable(resource) in unknown:
            ET.SubElement(case, "skipped", message=unknown[printable(resource)].text)
    outcome = _case(suite, result, "outcome")
    if result.state == "leaking":
        _add(outcome, "failure", blocks.verdict(result), "")
    elif result.state == "inconclusive":
        _add(outcome, "error", blocks.verdict(result), _reasons(result))
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(attribute, str(sum(case.find(tag) is not None for case in suite)))
    suite.set("tests", str(len(suite)))
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(suite, encoding="unicode") + "\n"


def _by_resource(result: RunResult) -> dict[Resource, list[Row]]:
    """{resource: the findings that it is part of, itself or as a companion}, of every resource that was judged."""
    rows: dict[Resource, list[Row]] = {growth.resource: [] for growth in result.growths}
    rows |= {level.resource: [] for level in result.levels}
    for finding in result.findings:
        for resource in dict.fromkeys((finding.resource, *(each.resource for each in finding.companions))):
            rows.setdefault(resource, []).append(blocks.finding(finding))
    return rows


def _case(suite: ET.Element, result: RunResult, name: str) -> ET.Element:
    classname = f"leakline.{printable(result.scenario)}"
    return ET.SubElement(suite, "testcase", classname=classname, name=printable(name))


def _add(case: ET.Element, tag: str, message: str, text: str) -> None:
    kind = {"failure": "leak", "error": "inconclusive"}[tag]
    ET.SubElement(case, tag, message=message, type=kind).text = text or None


def _reasons(result: RunResult) -> str:
    """Why a run is inconclusive, one reason per line."""
    return "\n".join(row_in_full(row) for row in blocks.reasons(result)) or "no reason was noted"


def github(result: RunResult) -> str:
    """Workflow commands that annotate each finding's line (docs.github.com, "Workflow commands").

    An inconclusive run is a warning with the reasons.
    """
    lines = []
    for row in blocks.rows(result):
        if row.kind == "leaking":
            title = f"title=leakline%3A {_property(' '.join(row.names))}"
            at = f"file={_property(row.places[0].file)},line={row.places[0].line}," if row.places else ""
            lines.append(f"::error {at}{title}::{_data(row_in_full(row))}")
        elif row.kind == "allowed":
            lines.append(f"::notice title=leakline%3A allowed::{_data(row_in_full(row))}")
    if result.state == "inconclusive":
        text = f"{blocks.verdict(result)}\n{_reasons(result)}"
        lines.append(f"::warning title=leakline%3A inconclusive::{_data(text)}")
    return "".join(line + "\n" for line in lines)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def sarif(result: RunResult) -> str:
    """SARIF 2.1.0 (OASIS): one result for each finding, with its allocation sites.

    An inconclusive run is a result of level `warning`, since GitHub's code scanning makes alerts only of results,
    not of an invocation's notifications. It refuses a whole file for one result without a location ("expected at
    least one location"), so a result without a line is placed on the first line of SETTINGS_FILE.
    """
    found = [row for row in blocks.rows(result) if row.kind == "leaking"]
    results = [_sarif_result(row.names[0], "error", row_in_full(row), row.places) for row in found]
    rules: dict[str, str] = {row.names[0]: f"{row.names[0]} grow with each call" for row in found}
    if result.state == "inconclusive":
        rules["inconclusive"] = "whether the server leaks cannot be told"
        text = f"{blocks.verdict(result)}\n{_reasons(result)}"
        results.append(_sarif_result("inconclusive", "warning", text, ()))
    driver = {
        "name": "leakline",
        "rules": [{"id": rule, "shortDescription": {"text": text}} for rule, text in sorted(rules.items())],
    }
    run = {"tool": {"driver": driver}, "results": results}
    return json.dumps({"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2)


def _sarif_result(rule: str, level: str, text: str, places: Sequence[Place]) -> dict[str, object]:
    locations = [
        {
            "physicalLocation": {
                "artifactLocation": {"uri": quote(place.file.replace("\\", "/"))},
                "region": {"startLine": max(1, place.line)},
            },
            "logicalLocations": [{"fullyQualifiedName": place.function}],
        }
        for place in places
    ]
    nowhere = {
        "physicalLocation": {"artifactLocation": {"uri": SETTINGS_FILE}, "region": {"startLine": 1}},
    }
    return {"ruleId": rule, "level": level, "message": {"text": text}, "locations": locations or [nowhere]}


def markdown(result: RunResult) -> str:
    """For a step summary or a comment: a list of rows, with their details below."""
    state = "clean" if result.state == "clean" else f"**{result.state}**"
    lines = [f"### leakline: {_escaped(blocks.headline(result))}: {state}", ""]
    if result.state == "inconclusive":
        lines += [f"{_escaped(blocks.verdict(result))}. Neither a pass nor a failure: the reasons are below.", ""]
    for row in blocks.rows(result):
        label = f"**{row.label}**" if row.kind in ("leaking", "inconclusive") else f"{row.label}:"
        text = ": ".join(_escaped(part) for part in (", ".join(row.names), row.text) if part)
        where = f" at {_code(row.where)}" if row.places else f", {_escaped(row.where)}" if row.where else ""
        lines.append(f"- {label} {text}{where}")
        lines += [f"  - {_escaped(each.text)} {_code(each.code)}".rstrip() for each in row.details]
    return "\n".join(lines).rstrip() + "\n"


def _code(text: str) -> str:
    return f"<code>{_escaped(text)}</code>" if text else ""


def _escaped(text: str) -> str:
    """`text` escaped, so that Markdown shows it as it is."""
    plain = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{each}" if each in _MARKUP else each for each in plain)


def csv(result: RunResult) -> str:
    """The samples: one row for each, one column for each resource; `nan` where a sample lacks it."""
    names = [growth.resource for growth in result.growths]
    rows = [",".join(["cycles", *names])]
    rows += [
        ",".join(f"{value:.15g}" for value in (s.cycles, *(s.values.get(name, float("nan")) for name in names)))
        for s in result.samples
    ]
    return "\n".join(rows) + "\n"


FORMATS: Mapping[str, Callable[[RunResult], str]] = {
    "html": html,
    "json": as_json,
    "junit": junit,
    "github": github,
    "sarif": sarif,
    "markdown": markdown,
    "csv": csv,
    "text": lambda result: in_full(result) + "\n",
}
"""{name of a format: its renderer}."""
