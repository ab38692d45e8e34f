import pytest

from leakline.fakes.faults import (
    KINDS,
    Close,
    FaultError,
    FaultPlan,
    Latency,
    Malformed,
    Reset,
    Rule,
    Status,
    parse_rule,
)
from leakline.fakes.faults.point import Moment


def struck(
    plan: FaultPlan, number: int, on: str = "chat.completions", at: Moment = "request", event: str = ""
) -> str:
    return "".join("x" if plan.draw(on, at, event) else "." for _ in range(number))


def test_a_rule_strikes_every_time_so_often_or_on_the_named_times() -> None:
    assert struck(FaultPlan([Rule(Reset())]), 4) == "xxxx"
    assert struck(FaultPlan([Rule(Reset(), times=2)]), 4) == "xx.."
    assert struck(FaultPlan([Rule(Reset(), nth=frozenset({2, 4}))]), 5) == ".x.x."
    assert struck(FaultPlan(), 2) == ".."


def test_chance_is_drawn_from_the_seed() -> None:
    rule = Rule(Reset(), probability=0.5)
    first = struck(FaultPlan([rule], seed=1), 200)
    assert first == struck(FaultPlan([rule], seed=1), 200)
    assert first != struck(FaultPlan([rule], seed=2), 200)
    assert 70 < first.count("x") < 130


def test_rules_match_endpoints_moments_and_events() -> None:
    plan = FaultPlan([Rule(Reset(), on="audio.*"), Rule(Close(), on="realtime", at="response.done", times=1)])
    assert struck(plan, 1, on="audio.speech") == "x"
    assert struck(plan, 1, on="chat.completions") == "."
    assert struck(plan, 1, on="realtime", at="event", event="response.created") == "."
    assert struck(plan, 2, on="realtime", at="event", event="response.done") == "x."
    assert [number for _, number in plan.struck] == [1, 1]


def test_the_first_rule_that_comes_up_is_the_one() -> None:
    plan = FaultPlan([Rule(Status(503), times=1), Rule(Latency(0.1))])
    drawn = [plan.draw("models", "request") for _ in range(2)]
    assert drawn == [Status(503), Latency(0.1)]


def test_rules_come_from_text() -> None:
    assert parse_rule("status(code=429, retry_after_s=1)@chat.completions x2") == Rule(
        Status(429, 1.0), on="chat.completions", times=2
    )
    assert parse_rule("reset@realtime/response.done %50") == Rule(
        Reset(), on="realtime", at="response.done", probability=0.5
    )
    assert parse_rule("close(code=4000,reason=bye)@realtime") == Rule(Close(4000, "bye"), on="realtime", at="open")
    assert parse_rule("latency@*").fault == Latency()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("boom", "expected NAME"),
        ("boom@realtime", "expected one of latency, status"),
        ("status(colour=1)@realtime", "expected settings code, retry_after_s, found 'colour=1'"),
        ("status(code=x)@realtime", "code: expected a number, found 'x'"),
        ("status@realtime/open", "status: expected to strike at request, found 'open'"),
        ("malformed@realtime/request", "malformed: expected to strike at response, chunk, event"),
    ],
)
def test_a_wrong_rule_says_what_was_expected(text: str, problem: str) -> None:
    with pytest.raises(FaultError, match=problem):
        parse_rule(text)


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(FaultError, match="probability"):
        Rule(Reset(), probability=2)
    with pytest.raises(FaultError, match="times"):
        Rule(Malformed(), at="response", times=-1)


def test_every_kind_says_where_it_can_strike() -> None:
    for name, kind in KINDS.items():
        assert kind.name == name
        assert kind.moments
        assert kind.__doc__
