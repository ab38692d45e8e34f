"""The one rule for the outcome of a run: clean, leaking or inconclusive. Pure functions.

Soaks, load runs and checks in a test's own process ask it; budgets, allowed leaks and baselines are its policy. In
this order:

1. **leaking**, when something leaks that the policy does not permit: a finding, or a growth or level that leaks and
   has no finding of its own.
2. **inconclusive**, when what was seen is not enough to be called clean: a resource whose growth cannot be told, a
   part of the server that was not seen, no calls, or too many calls that did not go as scripted. A leak that is
   permitted changes nothing about that.
3. **clean** otherwise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase

from leakline.harness.data.model import CallStats, Finding, Growth, Level, State
from leakline.harness.data.resources import Resource
from leakline.harness.data.words import amount
from leakline.harness.judge.budgets import Policy
from leakline.harness.judge.compare import differences

MOST_FAILED = 0.1
"""Share of the calls that may not go as scripted in a run that is called clean: what leaks on the path of a call that
went otherwise was not tried. Calls that were made again do not count, nor do any once a fault has struck: there,
failing is what is tried."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a run has seen for and against its server."""

    growths: tuple[Growth, ...]
    calls: CallStats
    findings: tuple[Finding, ...] = ()
    """Of what leaks, the most telling first."""
    levels: tuple[Level, ...] = ()
    doubts: tuple[str, ...] = ()
    """What of the server was not seen, and should have been: each a sentence for a person."""
    has_fault_struck: bool = False
    """Whether the fakes failed on purpose, so that calls may fail too."""
    scenario: str = ""
    """Name of the scenario that was played: it may have budgets of its own."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the evidence comes to under a policy."""

    state: State
    findings: tuple[Finding, ...]
    """Those that the policy does not permit."""
    allowed: tuple[tuple[Finding, str], ...] = ()
    """Those that it permits, each with why."""
    notes: tuple[str, ...] = ()
    """Why it is inconclusive, where no growth says it, and allowances that have expired: sentences for a person."""


def decide(evidence: Evidence, policy: Policy, today: date) -> Outcome:
    """The outcome; `today` is what the end of an allowance is held against."""
    allowed, left, notes = _without_allowed(evidence, policy, today)
    within, left = _without_budgeted(left, evidence.scenario, policy)
    known, left = _without_known(left, policy)
    reasons = _reasons(evidence)
    state: State = "clean"
    if left or _has_unattributed(evidence):
        state = "leaking"
    elif reasons or any(_is_open(growth, evidence.scenario, policy) for growth in evidence.growths):
        state = "inconclusive"
    return Outcome(state, tuple(left), (*allowed, *within, *known), (*notes, *reasons))


_Allowed = list[tuple[Finding, str]]


def _without_allowed(evidence: Evidence, policy: Policy, today: date) -> tuple[_Allowed, list[Finding], list[str]]:
    """(findings on the list of known leaks with why, the others, notes of entries that have expired)."""
    allowed: _Allowed = []
    left: list[Finding] = []
    notes: list[str] = []
    for finding in evidence.findings:
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
    """Whether a place of the finding is as the pattern has it, whole or by its function alone."""
    shown = [str(site) for site in finding.sites] or [finding.detail]
    return any(fnmatchcase(text, pattern) or fnmatchcase(text.partition("  ")[2], pattern) for text in shown)


def _without_budgeted(findings: Sequence[Finding], scenario: str, policy: Policy) -> tuple[_Allowed, list[Finding]]:
    """(findings within their budgets with why, the others).

    A budget is for a resource, whatever it leaks with: all findings share it, and what a finding retains is held
    against that resource's own budget. What has none goes with the finding that it belongs to.
    """
    total: Counter[Resource] = Counter()
    for finding in findings:
        for resource, per_cycle in _grown(finding):
            total[resource] += per_cycle  # type: ignore[assignment]  # a Counter of rates
    within: _Allowed = []
    left: list[Finding] = []
    for finding in findings:
        limit = policy.limit(scenario, finding.resource)
        limits = {resource: policy.limit(scenario, resource) for resource, _ in _grown(finding)}
        is_kept = all(most is None or total[resource] <= most for resource, most in limits.items())
        if limit is not None and is_kept and not isinstance(finding.growth, Level) and finding.per_cycle > 0:
            within.append((finding, f"within its budget of {amount(finding.resource, limit)} a call"))
        else:
            left.append(finding)
    return within, left


def _grown(finding: Finding) -> list[tuple[Resource, float]]:
    """(resource, growth a call) of the finding itself and of what comes with it."""
    return [(finding.resource, finding.per_cycle), *((c.resource, c.per_cycle) for c in finding.companions)]


def _without_known(findings: Sequence[Finding], policy: Policy) -> tuple[_Allowed, list[Finding]]:
    """(findings that the baseline has too with why, those that are new or worse)."""
    if policy.baseline is None:
        return [], list(findings)
    found = differences(policy.baseline, findings)
    worse = [each.finding for each in found if each.is_regression]
    known = [each.finding for each in found if each.after is not None and not each.is_regression]
    return [(finding, "in the baseline") for finding in known], worse


def _has_unattributed(evidence: Evidence) -> bool:
    """Whether something leaks and nothing at all was found of it."""
    judged: tuple[Growth | Level, ...] = (*evidence.growths, *evidence.levels)
    return not evidence.findings and any(each.state == "leaking" for each in judged)


def _is_open(growth: Growth, scenario: str, policy: Policy) -> bool:
    """Whether a growth cannot be told and may be more than its budget, if it has one."""
    limit = policy.limit(scenario, growth.resource)
    return growth.state == "inconclusive" and (limit is None or not growth.high <= limit)


def _reasons(evidence: Evidence) -> list[str]:
    """Why the run is not clean though nothing leaks, beside growths that cannot be told."""
    calls = evidence.calls
    reasons = list(evidence.doubts)
    failed, counted = calls.failed - calls.made_again, calls.made - calls.made_again
    if not calls.made:
        reasons.append("no call was made")
    elif failed > MOST_FAILED * counted and not evidence.has_fault_struck:
        reasons.append(
            f"{failed} of {counted} calls did not go as scripted: a clean verdict needs {1 - MOST_FAILED:.0%} of them"
        )
    return reasons
