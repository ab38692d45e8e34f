"""What CI systems read: JUnit XML, GitHub annotations and step summary, SARIF, Markdown, JSON."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping

from leakline.harness.data.model import Finding, RunResult
from leakline.harness.data.words import amount, printable
from leakline.reports.html import html

SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def as_json(result: RunResult) -> str:
    """All of it, with `version` 1."""
    return json.dumps({"version": 1, **result.to_json()}, indent=2, default=str)


def junit(result: RunResult) -> str:
    """A test case a resource: failed where it leaks, skipped where it cannot be told."""
    cases = {g.resource: g for g in result.growths}
    levels = {level.resource: level for level in result.levels}
    suite = ET.Element("testsuite", name=f"leakline {result.sut} {result.scenario}", time=f"{result.seconds:.3f}")
    leaking: dict[str, list[Finding]] = {}
    for finding in result.findings:
        for resource in (finding.resource, *(c.resource for c in finding.companions)):
            leaking.setdefault(resource, []).append(finding)
    skipped = 0
    for resource in (*cases, *levels):
        case = ET.SubElement(suite, "testcase", classname=f"leakline.{result.scenario}", name=resource)
        growth = cases.get(resource)
        for finding in leaking.get(resource, ()):
            failure = ET.SubElement(case, "failure", message=_xml(str(finding)), type="leak")
            failure.text = _xml(finding.in_full())
        if growth is not None and growth.state == "inconclusive":
            skipped += 1
            ET.SubElement(case, "skipped", message=_xml(growth.note or "it cannot be told"))
    failures = sum(1 for case in suite if case.find("failure") is not None)
    suite.attrib |= {"tests": str(len(suite)), "failures": str(failures), "skipped": str(skipped), "errors": "0"}
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(suite, encoding="unicode") + "\n"


def _xml(text: str) -> str:
    return "\n".join(printable(line, most=2000) for line in text.splitlines())


def github(result: RunResult) -> str:
    """Workflow commands that put each finding on its line (docs.github.com, "Workflow commands")."""
    lines = []
    for finding in result.findings:
        where = f" file={_property(finding.site.file)},line={finding.site.line}," if finding.site is not None else " "
        lines.append(f"::error{where}title=leakline%3A {_property(finding.resource)}::{_data(finding.in_full())}")
    lines += [f"::notice title=leakline::{_data(f'{finding} ({why})')}" for finding, why in result.allowed]
    return "".join(line + "\n" for line in lines)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def sarif(result: RunResult) -> str:
    """SARIF 2.1.0 (OASIS): a result a finding, with its line."""
    rules = sorted({finding.resource for finding in result.findings})
    document = {
        "$schema": SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "leakline",
                        "rules": [
                            {"id": rule, "shortDescription": {"text": f"{rule} grow with each call"}}
                            for rule in rules
                        ],
                    }
                },
                "results": [_sarif_result(finding) for finding in result.findings],
            }
        ],
    }
    return json.dumps(document, indent=2)


def _sarif_result(finding: Finding) -> dict[str, object]:
    locations = [
        {
            "physicalLocation": {
                "artifactLocation": {"uri": site.file.replace("\\", "/")},
                "region": {"startLine": max(1, site.line)},
            },
            "logicalLocations": [{"fullyQualifiedName": site.function}],
        }
        for site in finding.sites
    ]
    message = {"text": finding.in_full()}
    return {"ruleId": finding.resource, "level": "error", "message": message, "locations": locations}


def markdown(result: RunResult) -> str:
    """For a step summary or a comment."""
    verdict = {"clean": "clean", "leaking": "**leaking**", "inconclusive": "inconclusive"}[result.state]
    lines = [f"### leakline: {_cell(result.sut)} · {_cell(result.scenario)}: {verdict}", ""]
    lines += [f"{result.calls.made} calls in {result.seconds:.0f} s, {result.calls.failed} not as scripted.", ""]
    if result.findings:
        lines += ["| resource | growth a call | where |", "|---|---|---|"]
        for finding in result.findings:
            where = (
                f"`{_cell(str(finding.site))}`" if finding.site is not None else _cell(finding.detail or "not known")
            )
            lines.append(f"| {finding.resource} | {_cell(finding.measure)} | {where} |")
            for companion in finding.companions:
                lines.append(
                    f"| {companion.resource} | {amount(companion.resource, companion.per_cycle, sign=True)} | |"
                )
        lines.append("")
    lines += [f"- allowed: {_cell(f'{finding} ({why})')}" for finding, why in result.allowed]
    lines += [f"- unsure: {g.resource}: {_cell(g.note)}" for g in result.growths if g.state == "inconclusive"]
    lines += [f"- {_cell(note)}" for note in result.notes]
    return "\n".join(lines).rstrip() + "\n"


def _cell(text: str) -> str:
    clean = printable(text, most=500)
    for character in "\\`*_{}[]<>|":
        clean = clean.replace(
            character, f"\\{character}" if character not in "<>" else f"&{'lg'[character == '>']}t;"
        )
    return clean


def csv(result: RunResult) -> str:
    """The samples: a row each, a column a resource."""
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
    "text": lambda result: result.in_full() + "\n",
}
"""By name."""
