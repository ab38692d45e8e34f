"""Gauges: the user's own numbers, read by HTTP: fields of a JSON document, or metrics of a Prometheus page."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import aiohttp

from leakline.harness.data.errors import RunError, UsageError
from leakline.harness.data.resources import Resource, gauge

_LIMIT_S = 5.0
"""For one page to be read."""
_MAX_BYTES = 8 * 1024 * 1024
"""More of a page is not read."""
_METRIC_LINE = re.compile(r"^(?P<name>[a-zA-Z_:][\w:]*)(?P<labels>\{[^}]*\})?\s+(?P<value>\S+)(\s+\S+)?$")
"""A sample of the Prometheus text format: name, labels, value, and perhaps a timestamp."""


@dataclass(frozen=True, slots=True)
class Gauge:
    """A number that the server gives at a URL."""

    name: str
    """The user's name for it."""
    url: str
    path: str
    """The field of the JSON document (`calls.active`, `queues.0`), or the metric's name, with labels or without."""

    @property
    def resource(self) -> Resource:
        """Its name among the resources."""
        return gauge(self.name)


def parse(specs: Mapping[str, str]) -> tuple[Gauge, ...]:
    """Gauges from `{name: "URL#PATH"}`, such as `http://127.0.0.1:5050/health#active_calls`. Raises UsageError."""
    found = []
    for name, spec in specs.items():
        url, _, path = spec.partition("#")
        if not re.fullmatch(r"[\w-]{1,40}", name):
            raise UsageError(f"gauges: expected a name of letters, digits, '-' and '_', found {name!r}")
        if urlsplit(url).scheme not in ("http", "https") or not path:
            raise UsageError(
                f"gauges: {name}: expected URL#FIELD, such as http://127.0.0.1:5050/health#calls, found {spec!r}"
            )
        found.append(Gauge(name, url, path))
    return tuple(found)


class Gauges:
    """Reads gauges. An async context manager."""

    def __init__(self, gauges: tuple[Gauge, ...]) -> None:
        self._gauges = gauges
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=_LIMIT_S), connector=aiohttp.TCPConnector(force_close=True)
        )
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._http is not None:
            await self._http.close()

    async def read(self) -> dict[Resource, float]:
        """The values now; each page is read once. Raises RunError for a gauge that cannot be read."""
        pages: dict[str, str] = {}
        values = {}
        for each in self._gauges:
            if each.url not in pages:
                pages[each.url] = await self._page(each)
            values[each.resource] = value_in(pages[each.url], each)
        return values

    async def _page(self, each: Gauge) -> str:
        if self._http is None:
            raise RuntimeError("the gauges have not been opened")
        try:
            async with self._http.get(each.url) as response:
                body = await response.content.read(_MAX_BYTES)
                if response.status != 200:
                    raise RunError(f"gauge {each.name}: {each.url} answered {response.status}")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise RunError(f"gauge {each.name}: {each.url} cannot be read: {error or type(error).__name__}") from None
        return body.decode("utf-8", "replace")


def value_in(page: str, each: Gauge) -> float:
    """The gauge's number in a JSON document or a Prometheus page. Raises RunError if it is not there."""
    try:
        document = json.loads(page)
    except ValueError:
        return _metric(page, each)
    found = document
    for step in each.path.split("."):
        try:
            found = found[int(step)] if isinstance(found, list) else found[step]
        except (KeyError, IndexError, TypeError, ValueError):
            raise RunError(f"gauge {each.name}: {each.url} has no field {each.path!r}") from None
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise RunError(f"gauge {each.name}: expected a number at {each.path!r}, found {str(found)[:60]!r}")
    return float(found)


def _metric(page: str, each: Gauge) -> float:
    """The sum of a metric's samples; only of those with exactly the path's labels, if it has some."""
    total, seen = 0.0, False
    for line in page.splitlines():
        sample = _METRIC_LINE.match(line)
        if sample is not None and each.path in (sample["name"], sample["name"] + (sample["labels"] or "")):
            try:
                total, seen = total + float(sample["value"]), True
            except ValueError:
                continue
    if not seen:
        raise RunError(f"gauge {each.name}: {each.url} is neither JSON nor has it a metric {each.path!r}")
    return total
