"""The report of a run, and the comparison of two runs, as one HTML file that needs no other file and no network.

uPlot draws the charts (it is in `page/`, with its licence); Jinja2 renders the text and escapes all that comes from
the server. The page's content-security policy allows only its own scripts and style, by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

import jinja2
import numpy as np
from markupsafe import Markup

from leakline.harness.data.model import Growth, RunResult
from leakline.harness.data.resources import BYTES, Resource
from leakline.harness.data.words import amount, printable
from leakline.harness.judge.compare import Difference
from leakline.reports import blocks, drawings
from leakline.reports.blocks import Row, RowKind

_PAGE = Path(__file__).with_name("page")
_STATES = {"new": "leaking", "worse": "leaking", "same": "inconclusive", "better": "clean", "gone": "clean"}


def html(result: RunResult) -> str:
    """The report of one run."""
    charts = {g.resource: _described(result, g) for g in result.growths}
    keys = {g.resource: f"r{number}" for number, g in enumerate(result.growths)}
    data = {
        "labels": ["measured"],
        "warmup": int(result.about.get("warmup", 0) or 0),
        "resources": {
            keys[g.resource]: {
                "x": [s.cycles for s in result.samples],
                "runs": [_values(result, g.resource)],
                "bytes": g.resource in BYTES,
                "fit": _fit(result, g),
            }
            for g in result.growths
        },
    }
    rows: dict[RowKind, list[Row]] = {kind: [] for kind in get_args(RowKind)}
    for row in blocks.rows(result):
        rows[row.kind].append(row)
    time = drawings.timeline(result.seen, result.seconds)
    boxes = drawings.flame(result.allocations)
    return _render(
        "report.html.j2",
        title=f"leakline: {printable(result.sut)} {printable(result.scenario)}: {result.state}",
        verdict=blocks.verdict(result),
        headline=blocks.headline(result),
        result=result,
        findings=[(blocks.finding(finding), finding) for finding in result.findings],
        rows=rows,
        charts=charts,
        keys=keys,
        growths={g.resource: blocks.growth(g) for g in result.growths},
        flame={
            "boxes": boxes,
            "height": max((box.y for box in boxes), default=0) + 20,
            "total": amount("heap", sum(a.bytes_per_cycle for a in result.allocations)),
            "rows": [
                {
                    "where": f"{a.stack[0].file}:{a.stack[0].line}  {a.stack[0].function}",
                    "bytes": amount("heap", a.bytes_per_cycle),
                    "number": f"{a.number_per_cycle:.1f}",
                }
                for a in result.allocations
            ],
        },
        timeline={
            "bars": time.bars,
            "labels": time.labels,
            "height": time.height,
            "number": len(result.seen),
            "open": sum(1 for each in result.seen if each.closed_s is None),
            "rows": drawings.counted(result.seen),
        },
        data=data,
    )


def compare_html(before: RunResult, after: RunResult, differences: Sequence[Difference]) -> str:
    """The comparison of two runs: their leaks, and the samples of each resource as differences from the first one."""
    worse = [d for d in differences if d.is_regression]
    resources = {}
    for name in dict.fromkeys([*(g.resource for g in before.growths), *(g.resource for g in after.growths)]):
        both = [_since_start(run, name) for run in (before, after)]
        x = sorted({cycle for run in both for cycle in run})
        resources[name] = {
            "x": x,
            "runs": [[run.get(cycle) for cycle in x] for run in both],
            "bytes": name in BYTES,
            "fit": None,
        }
    keys = {name: f"r{number}" for number, name in enumerate(resources)}
    rates = {name: " and ".join(_rate(run, name) for run in (before, after)) for name in resources}
    found = f"{len(worse)} new or worse" if worse else "nothing new, nothing worse"
    return _render(
        "compare.html.j2",
        title=f"leakline: {found}",
        verdict=f"{found[0].upper()}{found[1:]}",
        worse=bool(worse),
        rows=[{"kind": d.kind, "state": _STATES[d.kind], "text": blocks.difference(d)} for d in differences],
        charts={name: f"{printable(name)}: {rates[name]}" for name in resources},
        keys=keys,
        rates=rates,
        data={
            "labels": [printable(run.directory) or blocks.headline(run) for run in (before, after)],
            "warmup": 0,
            "resources": {keys[name]: drawn for name, drawn in resources.items()},
        },
    )


def _values(result: RunResult, resource: Resource) -> list[float | None]:
    return [s.values.get(resource) for s in result.samples]


def _since_start(result: RunResult, resource: Resource) -> dict[int, float]:
    values = {s.cycles: s.values[resource] for s in result.samples if resource in s.values}
    first = next(iter(values.values()), 0.0)
    return {cycle: value - first for cycle, value in values.items()}


def _rate(result: RunResult, resource: Resource) -> str:
    rate = next((g.per_cycle for g in result.growths if g.resource == resource), None)
    return "not measured" if rate is None else blocks.rate(resource, rate)


def _fit(result: RunResult, growth: Growth) -> dict[str, list[float]] | None:
    """Lines through the middle of the samples with the slope and with the ends of its confidence interval.

    None where nothing grows, or too little is known for a line.
    """
    points = [(s.cycles, s.values[growth.resource]) for s in result.samples if growth.resource in s.values]
    if growth.state == "clean" or len(points) < 3 or not np.isfinite([growth.low, growth.high]).all():
        return None
    x, y = np.array(points, dtype=np.float64).T
    middle_x, middle_y = float(np.median(x)), float(np.median(y - growth.per_cycle * x))
    middle_y += growth.per_cycle * middle_x
    at = np.array([s.cycles for s in result.samples], dtype=np.float64) - middle_x
    return {
        "line": (middle_y + growth.per_cycle * at).tolist(),
        "low": (middle_y + np.minimum(growth.low * at, growth.high * at)).tolist(),
        "high": (middle_y + np.maximum(growth.low * at, growth.high * at)).tolist(),
    }


def _described(result: RunResult, growth: Growth) -> str:
    """A chart in words, for readers that do not see it."""
    values = [v for v in _values(result, growth.resource) if v is not None]
    if not values:
        return f"{printable(growth.resource)}: no samples"
    ends = f"from {amount(growth.resource, values[0])} to {amount(growth.resource, values[-1])}"
    rate = blocks.rate(growth.resource, growth.per_cycle)
    return f"{printable(growth.resource)}: {ends} over {growth.cycles} calls, {rate}, {growth.state}"


def _render(template: str, **given: Any) -> str:
    library, script = _file("uPlot.iife.min.js"), f"{_file('units.js')}\n{_file('report.js')}"
    css = _file("uPlot.min.css") + _file("report.css")
    hashes = {"script": f"{_hash(library)} {_hash(script)}", "style": _hash(css)}
    page = {"css": Markup(css), "library": Markup(library), "script": Markup(script)}  # noqa: S704  (our own files)
    return _environment().get_template(template).render(hashes=hashes, **page, **given)


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_PAGE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["shown"] = lambda text, most=200: printable(str(text), most)
    return environment


@lru_cache(maxsize=8)
def _file(name: str) -> str:
    return (_PAGE / name).read_text(encoding="utf-8").strip()


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
