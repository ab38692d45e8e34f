"""What a project allows: budgets of growth by resource and scenario, and known leaks with a reason and an end."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from fnmatch import fnmatchcase
from typing import Any

from leakline.harness.data.errors import UsageError
from leakline.harness.data.model import Finding, Level, RunResult
from leakline.harness.data.resources import BYTES, RESOURCES
from leakline.harness.data.words import amount

_SIZES = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "kB": 1000, "MB": 1000**2}
_AMOUNT = re.compile(r"\s*(?P<number>\d+(\.\d+)?)\s*(?P<unit>B|KiB|MiB|GiB|kB|MB)?\s*(/\s*call)?\s*")


@dataclass(frozen=True, slots=True)
class Allowed:
    """A leak that is known."""

    site: str
    """A pattern of `FILE:LINE  FUNCTION`, as findings show it; `*` and `?` as in a shell."""
    reason: str
    expires: date | None = None
    resource: str = "*"


@dataclass(frozen=True)
class Policy:
    """What is allowed."""

    budgets: Mapping[str, Mapping[str, float]]
    """{scenario, or "" for any: {resource: growth a call}}."""
    allowed: tuple[Allowed, ...] = ()

    def limit(self, scenario: str, resource: str) -> float | None:
        """The budget of a resource, if it has one."""
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


def apply(result: RunResult, policy: Policy, today: date) -> RunResult:
    """The result with what is allowed taken out of its findings; it is leaking for what is left."""
    left, allowed, notes = [], [], list(result.notes)
    for finding in result.findings:
        why = _reason(finding, result.scenario, policy, today, notes)
        if why:
            allowed.append((finding, why))
        else:
            left.append(finding)
    state = result.state
    if result.findings and not left:
        unsure = any(growth.state == "inconclusive" for growth in result.growths)
        state = "inconclusive" if unsure else "clean"
    return replace(result, findings=tuple(left), allowed=tuple(allowed), notes=tuple(notes), state=state)


def _reason(finding: Finding, scenario: str, policy: Policy, today: date, notes: list[str]) -> str:
    limit = policy.limit(scenario, finding.resource)
    if limit is not None and not isinstance(finding.growth, Level) and 0 < finding.per_cycle <= limit:
        return f"within its budget of {amount(finding.resource, limit)} a call"
    for known in policy.allowed:
        if not fnmatchcase(finding.resource, known.resource) or not _matches(finding, known.site):
            continue
        if known.expires is not None and today > known.expires:
            notes.append(f"{finding.resource} at {finding.site}: was allowed until {known.expires} ({known.reason})")
            continue
        until = f" until {known.expires}" if known.expires is not None else ""
        return f"allowed{until}: {known.reason}"
    return ""


def _matches(finding: Finding, pattern: str) -> bool:
    shown = [str(site) for site in finding.sites] or [finding.detail]
    return any(fnmatchcase(text, pattern) or fnmatchcase(text.partition("  ")[2], pattern) for text in shown)
