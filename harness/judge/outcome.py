"""The one rule for the outcome of a run: clean, leaking or inconclusive. Pure functions.

Soaks, load runs and `no_growth` use it; budgets, known leaks and a baseline are its policy. In this order:

1. **leaking**, when something leaks that the policy does not permit: a finding, or, where there are no findings at
   all, a growth or level that leaks.
2. **inconclusive**, when the evidence is not enough to call the server clean: the growth of a resource is
   inconclusive, a part of the server was not observed, no call was made, or too many calls did not go as scripted.
   A permitted leak changes nothing about that.
3. **clean** otherwise.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase

from leakline.harness.data.model import CallStats, Finding, Growth, Level, State
from leakline.harness.data.resources import Resource
from leakline.harness.data.words import amount
from leakline.harness.judge.budgets import Policy
from leakline.harness.judge.compare import differences

MAX_FAILED = 0.1
"""Fraction of the calls of a clean run that may fail to go as scripted: such a call does not reach the code that may
leak. Calls that were made again do not count. Nor does any failure once a fault has struck: there, failing calls are
what is tested."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a run has observed."""

    growths: tuple[Growth, ...]
    calls: CallStats
    findings: tuple[Finding, ...] = ()
    """What leaks, the most telling resource first."""
    levels: tuple[Level, ...] = ()
    doubts: tuple[str, ...] = ()
    """Parts of the server that should have been observed and were not: each a sentence for a person."""
    has_fault_struck: bool = False
    """Whether a fault was injected, so that calls may fail."""
    scenario: str = ""
    """Name of the scenario of the calls: it may have budgets of its own."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a run under a policy."""

    state: State
    findings: tuple[Finding, ...]
    """Those that the policy does not permit."""
    allowed: tuple[tuple[Finding, str], ...] = ()
    """Those that it permits, each with the reason."""
    notes: tuple[str, ...] = ()
    """Why it is inconclusive, but for inconclusive growths; known leaks that have expired: sentences for a person."""


def decide(evidence: Evidence, policy: Policy, today: date) -> Outcome:
    """The outcome of a run; known leaks that expired before `today` are not permitted."""
    allowed, left, notes = _without_allowed(evidence, policy, today)
    within, left = _without_budgeted(left, evidence.scenario, policy)
    known, left = _without_known(left, policy)
    reasons = _reasons(evidence)
    state: State = "clean"
    if left:
        state = "leaking"
    elif reasons or any(_is_undecided(growth, evidence.scenario, policy) for growth in evidence.growths):
        state = "inconclusive"
    return Outcome(state, tuple(left), (*allowed, *within, *known), (*notes, *reasons))


def _unattributed(evidence: Evidence) -> list[Finding]:
    """A finding without a line for each growth and level that leaks: for a run that has no finding at all."""
    growths = [Finding(each.resource, each.per_cycle, each) for each in evidence.growths if each.state == "leaking"]
    return growths + [Finding(each.resource, each.value, each) for each in evidence.levels if each.state == "leaking"]


_Allowed = list[tuple[Finding, str]]


def _without_allowed(evidence: Evidence, policy: Policy, today: date) -> tuple[_Allowed, list[Finding], list[str]]:
    """(findings on the list of known leaks, each with the reason; the others; notes of entries that have expired)."""
    allowed: _Allowed = []
    left: list[Finding] = []
    notes: list[str] = []
    for finding in evidence.findings or _unattributed(evidence):
        why = ""
        for known in policy.allowed:
            if not fnmatchcase(finding.resource, known.resource) or not _matches(finding, known.site):
                continue
            if known.expires is None or today <= known.expires:
                until = f" until {known.expires}" if known.expires is not None else ""
                why = f"allowed{until}: {known.reason}"
                break
            where = finding.site or finding.detail
            notes.append(f"{finding.resource} at {where}: was allowed until {known.expires} ({known.reason})")
        if why:
            allowed.append((finding, why))
        else:
            left.append(finding)
    return allowed, left, notes


def _matches(finding: Finding, pattern: str) -> bool:
    """Whether an allocation site of the finding, or its function alone, matches the pattern."""
    shown = [str(site) for site in finding.sites] or [finding.detail]
    return any(fnmatchcase(text, pattern) or fnmatchcase(text.partition("  ")[2], pattern) for text in shown)


def _without_budgeted(findings: Sequence[Finding], scenario: str, policy: Policy) -> tuple[_Allowed, list[Finding]]:
    """(findings within their budgets, each with the reason; the others).

    A budget limits the total growth of a resource over all findings, their companions included. A finding is within
    budget when its own resource has one that is kept, and so is that of each companion that has one.
    """
    total: defaultdict[Resource, float] = defaultdict(float)
    for finding in findings:
        for resource, per_cycle in _grown(finding):
            total[resource] += per_cycle
    within: _Allowed = []
    left: list[Finding] = []
    for finding in findings:
        limit = policy.limit(scenario, finding.resource)
        limits = {resource: policy.limit(scenario, resource) for resource, _ in _grown(finding)}
        is_within = all(most is None or total[resource] <= most for resource, most in limits.items())
        if limit is not None and is_within and not isinstance(finding.growth, Level) and finding.per_cycle > 0:
            within.append((finding, f"within its budget of {amount(finding.resource, limit)} a call"))
        else:
            left.append(finding)
    return within, left


def _grown(finding: Finding) -> list[tuple[Resource, float]]:
    """(resource, growth per call) of the finding itself and of each companion."""
    return [(finding.resource, finding.per_cycle), *((c.resource, c.per_cycle) for c in finding.companions)]


def _without_known(findings: Sequence[Finding], policy: Policy) -> tuple[_Allowed, list[Finding]]:
    """(findings that the baseline has too, each with the reason; those that are new or worse)."""
    if policy.baseline is None:
        return [], list(findings)
    found = differences(policy.baseline, findings)
    worse = [each.finding for each in found if each.is_regression]
    known = [each.finding for each in found if each.after is not None and not each.is_regression]
    return [(finding, "in the baseline") for finding in known], worse


def _is_undecided(growth: Growth, scenario: str, policy: Policy) -> bool:
    """Whether a growth is inconclusive, and not certainly within its budget."""
    limit = policy.limit(scenario, growth.resource)
    return growth.state == "inconclusive" and (limit is None or not growth.high <= limit)


def _reasons(evidence: Evidence) -> list[str]:
    """Why the run is inconclusive although nothing leaks, but for inconclusive growths."""
    calls = evidence.calls
    reasons = list(evidence.doubts)
    failed, counted = calls.failed - calls.made_again, calls.made - calls.made_again
    if not calls.made:
        reasons.append("no call was made")
    elif failed > MAX_FAILED * counted and not evidence.has_fault_struck:
        reasons.append(
            f"{failed} of {counted} calls did not go as scripted: a clean verdict needs {1 - MAX_FAILED:.0%} of them"
        )
    return reasons
