"""The one rule: clean, leaking or inconclusive."""

from datetime import date

import pytest

from leakline.harness.data.model import (
    CallStats,
    Companion,
    Finding,
    Growth,
    Level,
    Resource,
    Site,
    State,
)
from leakline.harness.judge import budgets
from leakline.harness.judge.budgets import Policy
from leakline.harness.judge.outcome import Evidence, decide

TODAY = date(2026, 11, 24)
ALL_WELL = CallStats(100, 100)
KNOWN = budgets.parse({}, [{"site": "leak", "reason": "JIRA-1"}])


def growth(resource: Resource = "timers", rate: float = 1.0, state: State = "leaking", high: float = 0.0) -> Growth:
    return Growth(resource, state, rate, rate, high or rate, True, 96, 13)


def finding(resource: Resource = "timers", rate: float = 1.0, *retained: tuple[Resource, float]) -> Finding:
    companions = tuple(Companion(name, per_cycle, "held") for name, per_cycle in retained)
    return Finding(resource, rate, growth(resource, rate), (Site("app.py", 7, "leak", "call_later()"),), companions)


def evidence(
    *found: Finding, calls: CallStats = ALL_WELL, more: tuple[Growth, ...] = (), doubts: tuple[str, ...] = ()
) -> Evidence:
    growths = tuple(each.growth for each in found if isinstance(each.growth, Growth))
    return Evidence((*growths, *more), calls, found, doubts=doubts, scenario="question")


def state(seen: Evidence, policy: Policy | None = None) -> State:
    return decide(seen, policy or Policy(), TODAY).state


def test_nothing_that_grows_in_calls_that_went_as_scripted_is_clean() -> None:
    assert state(evidence(more=(growth(state="clean"),))) == "clean"


def test_a_finding_is_leaking_whatever_else_is_inconclusive() -> None:
    seen = evidence(
        finding(), calls=CallStats(100, 5), more=(growth("heap", 900.0, "inconclusive"),), doubts=("lost",)
    )
    assert state(seen) == "leaking"


def test_what_leaks_is_a_finding_though_nothing_could_be_attributed() -> None:
    outcome = decide(evidence(more=(growth(), growth("heap", state="clean"))), Policy(), TODAY)
    assert (outcome.state, outcome.findings) == ("leaking", (Finding("timers", 1.0, growth()),))
    too_high = Level("wakeups", "leaking", 6000.0, 1800.0, "6,000 a minute")
    outcome = decide(Evidence((), ALL_WELL, levels=(too_high,)), Policy(), TODAY)
    assert (outcome.state, outcome.findings) == ("leaking", (Finding("wakeups", 6000.0, too_high),))
    assert state(evidence(more=(growth(),)), budgets.parse({"timers": 1}, [])) == "clean"


def test_an_inconclusive_growth_makes_the_run_inconclusive() -> None:
    assert state(evidence(more=(growth("heap", 900.0, "inconclusive"),))) == "inconclusive"


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        (CallStats(0, 0), "inconclusive"),
        (CallStats(100, 90), "clean"),
        (CallStats(100, 89), "inconclusive"),
        (CallStats(100, 84, made_again=8), "clean"),  # 8 of 92, which is less than a tenth
        (CallStats(100, 82, made_again=8), "inconclusive"),  # 10 of 92
    ],
)
def test_a_clean_verdict_needs_calls_that_went_as_scripted(calls: CallStats, expected: State) -> None:
    outcome = decide(evidence(calls=calls), Policy(), TODAY)
    assert outcome.state == expected
    assert bool(outcome.notes) == (expected == "inconclusive")


def test_calls_may_fail_where_a_fault_has_struck() -> None:
    assert state(Evidence((), CallStats(100, 0), has_fault_struck=True)) == "clean"


def test_a_part_of_the_server_that_was_not_observed_makes_the_run_inconclusive_and_is_noted() -> None:
    outcome = decide(evidence(doubts=("process 7 ended",)), Policy(), TODAY)
    assert outcome.state == "inconclusive"
    assert outcome.notes == ("process 7 ended",)


def test_a_known_leak_does_not_make_failed_calls_clean() -> None:
    outcome = decide(evidence(finding(), calls=CallStats(100, 10)), KNOWN, TODAY)
    assert outcome.state == "inconclusive"
    assert [why for _, why in outcome.allowed] == ["allowed: JIRA-1"]
    assert outcome.notes == ("90 of 100 calls did not go as scripted: a clean verdict needs 90% of them",)


def test_nor_does_a_baseline_with_a_known_leak_make_an_inconclusive_heap_clean() -> None:
    seen = evidence(finding(), more=(growth("heap", 900.0, "inconclusive"),))
    outcome = decide(seen, Policy(baseline=(finding(),)), TODAY)
    assert outcome.state == "inconclusive"
    assert outcome.findings == ()


@pytest.mark.parametrize(
    ("policy", "left", "why"),
    [
        (budgets.parse({}, []), 1, ""),
        (budgets.parse({"timers": 1}, []), 0, "within its budget of 1.00 a call"),
        (budgets.parse({"timers": 0.5}, []), 1, ""),
        (budgets.parse({"timers": 5, "question": {"timers": 0}}, []), 1, ""),
        (budgets.parse({"question": {"timers": 2}}, []), 0, "within its budget of 2.00 a call"),
        (budgets.parse({}, [{"site": "app.py:*", "reason": "JIRA-1"}]), 0, "allowed: JIRA-1"),
        (
            budgets.parse({}, [{"site": "leak", "reason": "J", "expires": "2027-01-31"}]),
            0,
            "allowed until 2027-01-31: J",
        ),
        (budgets.parse({}, [{"site": "leak", "reason": "J", "expires": date(2026, 1, 31)}]), 1, ""),
        (
            budgets.parse({}, [{"site": "leak", "reason": "J", "expires": date(2026, 11, 24)}]),
            0,
            "allowed until 2026-11-24: J",
        ),
        (budgets.parse({}, [{"site": "leak", "reason": "J", "resource": "tasks"}]), 1, ""),
        (Policy(baseline=()), 1, ""),
        (Policy(baseline=(finding(),)), 0, "in the baseline"),
        (Policy(baseline=(finding(rate=2.0),)), 0, "in the baseline"),
        (Policy(baseline=(finding(rate=0.5),)), 1, ""),
        (Policy(baseline=(finding("tasks"),)), 1, ""),
    ],
)
def test_what_is_permitted_does_not_fail_the_run(policy: Policy, left: int, why: str) -> None:
    outcome = decide(evidence(finding()), policy, TODAY)
    assert len(outcome.findings) == left
    assert outcome.state == ("leaking" if left else "clean")
    assert [reason for _, reason in outcome.allowed] == ([why] if why else [])


def test_a_known_leak_that_has_expired_is_noted() -> None:
    policy = budgets.parse({}, [{"site": "leak", "reason": "JIRA-7", "expires": "2026-01-31"}])
    outcome = decide(evidence(finding()), policy, TODAY)
    assert outcome.notes == ("timers at app.py:7  leak: was allowed until 2026-01-31 (JIRA-7)",)


def test_a_finding_within_its_budget_must_keep_the_budgets_of_what_it_retains() -> None:
    task = finding("tasks", 1.0, ("heap", 300 * 1024.0))
    assert state(evidence(task), budgets.parse({"tasks": 1}, [])) == "clean"
    assert state(evidence(task), budgets.parse({"tasks": 1, "heap": "2 KiB/call"}, [])) == "leaking"
    assert state(evidence(task), budgets.parse({"tasks": 1, "heap": "300 KiB/call"}, [])) == "clean"
    assert state(evidence(task), budgets.parse({"heap": "300 KiB/call"}, [])) == "leaking"


def test_a_budget_is_shared_by_all_findings_of_its_resource_but_those_that_are_known() -> None:
    both = (finding("timers", 1.0), Finding("timers", 1.0, growth(), (Site("app.py", 90, "other"),)))
    assert state(evidence(*both), budgets.parse({"timers": 1}, [])) == "leaking"
    assert state(evidence(*both), budgets.parse({"timers": 2}, [])) == "clean"
    known = budgets.parse({"timers": 1}, [{"site": "other", "reason": "J"}])
    assert state(evidence(*both), known) == "clean"


def test_a_level_has_no_budget() -> None:
    too_high = Level("wakeups", "leaking", 1.0, 0.5, "")
    seen = Evidence((), ALL_WELL, (Finding("wakeups", 1.0, too_high),), (too_high,))
    assert state(seen, Policy({"": {"wakeups": 2.0}})) == "leaking"


def test_an_inconclusive_growth_that_is_certainly_within_its_budget_is_clean() -> None:
    seen = evidence(more=(growth("heap", 100.0, "inconclusive", high=1500.0),))
    assert state(seen, budgets.parse({"heap": "2 KiB/call"}, [])) == "clean"
    assert state(seen, budgets.parse({"heap": "1 KiB/call"}, [])) == "inconclusive"
