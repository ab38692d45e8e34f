"""Compares the leaks of two runs: new, gone, worse or better, beyond what noise explains. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from leakline.harness.data.model import MEMORY, Companion, Finding, Growth, RunResult

Kind = Literal["new", "worse", "same", "better", "gone"]

_TOLERANCE = 0.05
"""Fraction by which the growths of one leak in two runs may differ, however narrow their confidence intervals are:
even exact growths of two runs are never quite alike."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One leak in two runs."""

    kind: Kind
    finding: Finding
    """As the later run has it; the earlier one's when it is gone."""
    before: float | None
    """Growth a call in the earlier run."""
    after: float | None
    added: tuple[Companion, ...] = ()
    """Resources that grow at its place in the later run only: a new leak at the same place."""

    @property
    def is_regression(self) -> bool:
        """Whether it is new or worse, and so should fail a build."""
        return self.kind in ("new", "worse")


def compare(before: RunResult, after: RunResult) -> tuple[Difference, ...]:
    """The differences of two runs, regressions first; what either permits was there, and is no regression."""
    return differences(before.leaks, after.findings, [finding for finding, _ in after.allowed])


def differences(
    before: Sequence[Finding], after: Sequence[Finding], permitted: Sequence[Finding] = ()
) -> tuple[Difference, ...]:
    """The differences of two runs' findings, regressions first, without those that the later run permits.

    Two findings are one leak when they are of one resource and have the same function, or else the same text of their
    line, so that code that moves makes no new leak. One is worse when its whole confidence interval lies above the
    earlier one's, or when another resource that is not memory grows with it now.
    """
    left = list(before)
    found = [_difference(finding, left) for finding in after]
    found += [each for finding in permitted if not (each := _difference(finding, left)).is_regression]
    found += [Difference("gone", finding, finding.per_cycle, None) for finding in left]
    order: Sequence[Kind] = ("new", "worse", "same", "better", "gone")
    return tuple(sorted(found, key=lambda d: order.index(d.kind)))


def _difference(finding: Finding, left: list[Finding]) -> Difference:
    """What a finding is to the earlier run's: the one that it matches is taken out of those that are `left`."""
    old = _match(finding, left)
    if old is None:
        return Difference("new", finding, None, finding.per_cycle)
    left.remove(old)
    added = _added(old, finding)
    kind = "worse" if added else _change(old, finding)
    return Difference(kind, _new_lines_first(old, finding), old.per_cycle, finding.per_cycle, added)


def _match(finding: Finding, among: Sequence[Finding]) -> Finding | None:
    alike = [f for f in among if f.resource == finding.resource]
    for same in (_function, _line):
        found = next((f for f in alike if same(f) == same(finding)), None)
        if found is not None:
            return found
    return None


def _added(old: Finding, new: Finding) -> tuple[Companion, ...]:
    """The companions of the later finding that the earlier one did not have; memory, which varies, does not count."""
    before = {old.resource, *(c.resource for c in old.companions)}
    return tuple(c for c in new.companions if c.resource not in before and c.resource not in MEMORY)


def _new_lines_first(old: Finding, new: Finding) -> Finding:
    known = {site.text for site in old.sites}
    return replace(new, sites=tuple(sorted(new.sites, key=lambda site: site.text in known)))


def _function(finding: Finding) -> tuple[str, str]:
    site = finding.site
    return (site.file, site.function) if site is not None else ("", finding.detail)


def _line(finding: Finding) -> str:
    site = finding.site
    return site.text if site is not None and site.text else f"{id(finding)}"


def _change(old: Finding, new: Finding) -> Kind:
    low, high = _interval(old)
    if _interval(new)[0] > high:
        return "worse"
    return "better" if _interval(new)[1] < low else "same"


def _interval(finding: Finding) -> tuple[float, float]:
    """The confidence interval of the finding's growth per call, at least as wide as `_TOLERANCE` makes it."""
    rate, growth = finding.per_cycle, finding.growth
    low = high = rate
    if isinstance(growth, Growth) and growth.per_cycle:
        share = rate / growth.per_cycle
        low, high = share * growth.low, share * growth.high
    return min(low, rate * (1 - _TOLERANCE)), max(high, rate * (1 + _TOLERANCE))
