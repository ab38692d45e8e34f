"""The server's memory in a load run: a tab of Locust's web page with live charts, and the outcome at the end.

The tab and its table are made as in Locust's example `extend_web_ui.py` (`template_args`). A script that is added to
the page draws the charts below them with uPlot, from readings that it requests.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from flask import Response, request
from rich.console import Console

from leakline.harness.data.model import RunResult
from leakline.harness.data.readings import Reading
from leakline.harness.data.resources import BYTES, Resource, rank
from leakline.harness.data.words import amount
from leakline.reports import terminal
from leakline.reports.html import html

_PAGE = Path(__file__).with_name("page")
KEY = "sut-memory"
"""Name of the tab in the page's URL."""

_COLUMNS = {
    "resource": "Resource",
    "rest": "At rest before",
    "now": "Now",
    "change": "Change",
    "a_call": "Change a call",
}
"""{key of a column: its title}."""


class Source(Protocol):
    """Supplies the readings: `leakline.director.Director`."""

    result: RunResult | None
    """None until the run has ended."""

    @property
    def readings(self) -> Iterable[Reading]:
        """In the order of time."""


def show(result: RunResult, violations: Sequence[str], locust_report: str | None = None) -> None:
    """Print the outcome, and the thresholds that were exceeded; write the HTML report.

    Where Locust writes its own HTML report (`--html`, to `locust_report`), a copy of the run's is put next to it.
    """
    page = Path(result.directory) / "report.html"
    page.write_text(html(result), encoding="utf-8")
    if locust_report:
        copy = Path(locust_report).with_name(f"{Path(locust_report).stem}-memory.html")
        copy.parent.mkdir(parents=True, exist_ok=True)
        for source, target in ((page, copy), *((page.with_name(n), copy.with_name(n)) for n in result.beside)):
            shutil.copy(source, target)
    console = Console(highlight=False)
    terminal.show(console, result, report=str(page))
    for text in violations:
        console.print(f"  [red]NOT KEPT[/red]  threshold {text}", soft_wrap=True)
    if violations:
        console.print()


def rows(readings: Iterable[Reading]) -> list[dict[str, str]]:
    """The rows of the tab's table: each resource at rest before the load and now."""
    first: dict[Resource, float] = {}
    newest: dict[Resource, float] = {}
    made: list[int] = []
    for reading in readings:
        made.append(reading.calls)
        for name, value in reading.values.items():
            first.setdefault(name, value)
            newest[name] = value
    calls = max(1, made[-1] - made[0]) if made else 1
    return [
        {
            "resource": name,
            "rest": _whole(name, first[name]),
            "now": _whole(name, newest[name]),
            "change": _whole(name, newest[name] - first[name], "+"),
            "a_call": amount(name, (newest[name] - first[name]) / calls, sign=True),
        }
        for name in sorted(newest, key=lambda name: (rank(name), name))
    ]


def _whole(name: Resource, value: float, sign: str = "") -> str:
    return amount(name, value, sign=bool(sign)) if name in BYTES else f"{value:{sign},.10g}"


def series(readings: Iterable[Reading]) -> dict[str, Any]:
    """The data of the charts: `{resources: {name: {bytes, x, y}}, load: {x, calls, users}}`; `x` is in seconds."""
    resources: dict[Resource, dict[str, Any]] = {}
    load: dict[str, list[float]] = {"x": [], "calls": [], "users": []}
    for reading in readings:
        for name, value in reading.values.items():
            one = resources.setdefault(name, {"bytes": name in BYTES, "x": [], "y": []})
            one["x"].append(reading.at_s)
            one["y"].append(value)
        load["x"].append(reading.at_s)
        load["calls"].append(reading.calls)
        load["users"].append(reading.users)
    return {
        "resources": dict(sorted(resources.items(), key=lambda item: (rank(item[0]), item[0]))),
        "load": load,
    }


def _files(*names: str) -> str:
    return "\n".join((_PAGE / name).read_text(encoding="utf-8") for name in names)


def install(web_ui: Any, source: Source) -> None:
    """Add the tab to Locust's web page."""
    web_ui.template_args |= {
        "extended_tabs": [{"title": "SUT memory", "key": KEY}],
        "extended_tables": [
            {"key": KEY, "structure": [{"key": key, "title": title} for key, title in _COLUMNS.items()]}
        ],
    }
    app = web_ui.app
    script = _files("uPlot.iife.min.js", "units.js", "load_tab.js")
    style = _files("uPlot.min.css", "load_tab.css")

    @app.route("/leakline/tab.js")
    def tab_script() -> Response:
        return Response(script, mimetype="application/javascript")

    @app.route("/leakline/tab.css")
    def tab_style() -> Response:
        return Response(style, mimetype="text/css")

    @app.route("/leakline/readings")
    def tab_readings() -> Response:
        verdict = source.result.state if source.result is not None else None
        return Response(json.dumps({**series(source.readings), "verdict": verdict}), mimetype="application/json")

    @app.after_request
    def extend(response: Response) -> Response:
        if request.path == "/" and response.mimetype == "text/html" and not response.direct_passthrough:
            added = (
                '<link rel="stylesheet" href="leakline/tab.css"><script src="leakline/tab.js" defer></script></body>'
            )
            response.set_data(response.get_data(as_text=True).replace("</body>", added, 1))
        elif request.path == "/stats/requests" and response.is_json:
            stats = response.get_json()
            stats["extended_stats"] = [{"key": KEY, "data": rows(source.readings)}]
            response.set_data(json.dumps(stats))
        return response
