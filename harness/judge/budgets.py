"""The policy of a project: budgets by resource and scenario, known leaks with reason and expiry date, a baseline.

Read and validated here; `outcome.py` applies it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from leakline.harness.data.errors import UsageError
from leakline.harness.data.model import Finding
from leakline.harness.data.resources import BYTES, RESOURCES

_SIZES = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "kB": 1000, "MB": 1000**2}
_AMOUNT = re.compile(r"\s*(?P<number>\d+(\.\d+)?)\s*(?P<unit>B|KiB|MiB|GiB|kB|MB)?\s*(/\s*call)?\s*")


@dataclass(frozen=True, slots=True)
class Allowed:
    """An entry of the list of known leaks."""

    site: str
    """A pattern of `FILE:LINE  FUNCTION`, as findings show it, or of the function; `*` and `?` as in a shell."""
    reason: str
    """Why it is permitted, in the project's words."""
    expires: date | None = None
    """The last day on which it is permitted; None is for ever."""
    resource: str = "*"
    """A pattern of the resource's name."""


@dataclass(frozen=True)
class Policy:
    """What is permitted; an empty one permits nothing."""

    budgets: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """{scenario, or "" for any: {resource: most growth per call, in things or bytes}}."""
    allowed: tuple[Allowed, ...] = ()
    """The list of known leaks."""
    baseline: tuple[Finding, ...] | None = None
    """The findings of an earlier run: what is neither new nor worse is permitted. None without a baseline."""

    def limit(self, scenario: str, resource: str) -> float | None:
        """The budget of a resource in growth per call, the scenario's own before the general one, if there is one."""
        own = self.budgets.get(scenario, {})
        return own.get(resource, self.budgets.get("", {}).get(resource))


def parse(budgets: Any, allow: Any) -> Policy:
    """A policy from the tables `budgets` and `allow` of the settings. Raises UsageError, naming the entry."""
    if not isinstance(budgets, Mapping):
        raise UsageError(f"budgets: expected a table, found {budgets!r}")
    if not isinstance(allow, Sequence) or isinstance(allow, str):
        raise UsageError(f"allow: expected a list of tables, found {allow!r}")
    found: dict[str, dict[str, float]] = {"": {}}
    for name, value in budgets.items():
        if isinstance(value, Mapping):
            found[name] = {resource: _budget(f"budgets.{name}", resource, each) for resource, each in value.items()}
        else:
            found[""][name] = _budget("budgets", name, value)
    return Policy(found, tuple(_allowed(number, entry) for number, entry in enumerate(allow, 1)))


def _budget(where: str, resource: str, value: Any) -> float:
    if resource not in RESOURCES and not resource.startswith("gauge "):
        raise UsageError(f"{where}: expected one of {', '.join(RESOURCES)}, found {resource!r}")
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return float(value)
    match = _AMOUNT.fullmatch(value) if isinstance(value, str) else None
    if match is None or (match["unit"] and resource not in BYTES):
        what = "an amount such as '2 KiB/call'" if resource in BYTES else "a number of 0 or more, a call"
        raise UsageError(f"{where}.{resource}: expected {what}, found {value!r}")
    return float(match["number"]) * _SIZES[match["unit"] or "B"]


def _allowed(number: int, entry: Any) -> Allowed:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("site"), str) or not entry.get("reason"):
        raise UsageError(f"allow[{number}]: expected a table with site and reason, found {entry!r}")
    expires = entry.get("expires")
    if isinstance(expires, str):
        try:
            expires = date.fromisoformat(expires)
        except ValueError:
            raise UsageError(
                f"allow[{number}].expires: expected a date such as 2027-01-31, found {expires!r}"
            ) from None
    if expires is not None and not isinstance(expires, date):
        raise UsageError(f"allow[{number}].expires: expected a date such as 2027-01-31, found {expires!r}")
    return Allowed(entry["site"], str(entry["reason"]), expires, str(entry.get("resource", "*")))
