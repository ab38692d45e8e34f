"""The parts of a load run that touch nothing: shapes, thresholds, what a call tells, the verdict."""

from dataclasses import dataclass
from itertools import pairwise

import pytest

from leakline.fakes.twilio import CallEnd, StreamStats
from leakline.harness.data.errors import UsageError
from leakline.harness.data.model import Growth, Resource, Sample
from leakline.harness.data.readings import MAX_READINGS, Reading, Readings
from leakline.harness.drive.meter import Heard
from leakline.harness.drive.telephone import CallResult
from leakline.harness.judge.after_load import Load, judge
from leakline.harness.judge.growth import FLOORS
from leakline.harness.judge.thresholds import parse, violations
from leakline.harness.run.load.engine import CallOutcome
from leakline.harness.run.load.measures import measures
from leakline.harness.run.load.shapes import SHAPES
from leakline.reports.load_tab import rows, series


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_never_has_fewer_than_none_or_more_than_all(name: str) -> None:
    seen = [SHAPES[name](second / 10, 50, 60.0) for second in range(600)]
    assert all(0 <= users <= 50 for users in seen)
    assert max(seen) == 50


def test_what_the_shapes_are() -> None:
    def at(name: str, *times: float) -> list[int]:
        return [SHAPES[name](time, 100, 100.0) for time in times]

    assert at("steady", 0.0, 5.0, 10.0, 99.0) == [0, 50, 100, 100]
    assert at("steps", 0.0, 20.0, 40.0, 99.9) == [20, 40, 60, 100]
    assert at("spike", 10.0, 50.0, 61.0) == [10, 100, 10]
    assert at("soak", 5.0, 50.0, 95.0) == [50, 100, 50]
    assert at("reconnect_storm", 0.5, 15.5, 16.5) == [100, 0, 100]
    assert at("thundering_herd", 0.0, 99.0) == [100, 100]


@dataclass
class Row:
    num_requests: int = 100
    num_failures: int = 3
    max_response_time: int = 900
    avg_response_time: float = 300.0

    def get_response_time_percentile(self, percent: float) -> float:
        return 1000 * percent


def test_thresholds_that_are_kept_broken_and_of_nothing() -> None:
    texts = (
        "answer.p95<=960ms",
        "answer.p95<=0.9s",
        "call.failed <= 2%",
        "answer.max<=1s",
        "answer.avg<=200ms",
        "x.p50<=1s",
    )
    said = violations(tuple(map(parse, texts)), {"answer": Row(), "call": Row()})
    assert [text.partition(":")[0] for text in said] == [
        "answer.p95 <= 900 ms",
        "call.failed <= 2%",
        "answer.avg <= 200 ms",
        "x.p50 <= 1000 ms",
    ]
    assert said[0].endswith("it was 950 ms")


@pytest.mark.parametrize(
    "text", ["", "answer", "answer.p95", "answer.p95<=800", "answer.p95<=1%", "call.failed<=3ms", "call.p95<=1.2.3ms"]
)
def test_a_threshold_that_says_nothing_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(UsageError, match=r"threshold: expected .*found"):
        parse(text)


def test_a_call_tells_what_happened_in_it_in_real_milliseconds() -> None:
    heard = Heard(first_audio_s=2.0, answers_s=(1.0, 1.2), silences_s=(0.4,), dry_s=0.1)
    end = CallEnd("caller", "hung up", StreamStats(open_s=0.01, close_s=0.02, received_bytes=500))
    result = CallResult(end, "", 3.0, heard=heard, webhook_s=0.03, twiml_s=0.0)
    told = list(measures(CallOutcome(result, 4.0), speed=2.0))
    assert [(m.name, m.milliseconds) for m in told if m.name in ("answer", "barge-in to silence", "webhook")] == [
        ("webhook", 30.0),
        ("answer", 500.0),
        ("answer", 600.0),
        ("barge-in to silence", 200.0),
    ]
    assert (told[-1].name, told[-1].size_bytes, told[-1].failure) == ("call", 500, "")


def test_a_call_that_was_refused_or_hung_up_from_outside() -> None:
    refusal = CallResult(CallEnd("refused", "HTTP 503"), "refused: HTTP 503", 0.0)
    refused = list(measures(CallOutcome(refusal, 0.1), 1.0))
    assert [(m.name, m.failure) for m in refused] == [("call", "refused: HTTP 503")]
    assert list(measures(CallOutcome(None, 0.1), 1.0)) == []
    assert [m.failure for m in measures(CallOutcome(None, 0.1, "ValueError: x"), 1.0)] == ["ValueError: x"]


def verdict(before: float, after: float, during: list[float], load: Load, resource: Resource = "sockets") -> Growth:
    readings = [
        Sample(load.calls * (n + 1) // len(during), float(n), {resource: value}) for n, value in enumerate(during)
    ]
    first, last = Sample(0, 0.0, {resource: before}), Sample(load.calls, 60.0, {resource: after})
    return judge(first, last, readings, load, FLOORS)[0]


def test_what_comes_back_is_clean() -> None:
    assert verdict(6, 6, [30.0] * 40, Load(2000, 20)).state == "clean"


def test_what_stays_with_every_call_is_a_leak() -> None:
    found = verdict(6, 2006, [30.0 + 50 * n for n in range(40)], Load(2000, 20))
    assert found.state == "leaking"
    assert found.per_cycle == pytest.approx(1.0)


def test_a_pool_that_stands_at_the_most_calls_at_once_is_clean() -> None:
    found = verdict(6, 206, [400.0 + n % 3 for n in range(40)], Load(2000, 200))
    assert found.state == "clean"
    assert "stood still" in found.note


def test_a_slow_leak_within_what_a_pool_may_hold_shows_in_its_trend() -> None:
    found = verdict(6, 206, [400.0 + 5 * n for n in range(40)], Load(2000, 200))
    assert found.state == "leaking"


def test_without_readings_what_a_pool_may_hold_is_inconclusive() -> None:
    found = verdict(6, 206, [], Load(2000, 200))
    assert found.state == "inconclusive"
    assert "a longer run would tell" in found.note


def test_pages_that_an_allocator_keeps_are_no_leak_when_what_is_in_use_came_back() -> None:
    before = Sample(0, 0.0, {"heap": 50e6, "rss": 70e6})
    after = Sample(500, 60.0, {"heap": 50e6 + 4000, "rss": 80e6})
    states = {g.resource: g.state for g in judge(before, after, [], Load(500, 40), FLOORS)}
    assert states == {"heap": "clean", "rss": "clean"}
    without_heap = judge(Sample(0, 0.0, {"rss": 70e6}), Sample(500, 60.0, {"rss": 80e6}), [], Load(500, 40), FLOORS)
    assert without_heap[0].state == "inconclusive"


def test_readings_are_even_and_bounded_however_long_the_load_is() -> None:
    readings = Readings()
    seconds = 8 * 3600
    for second in range(seconds):
        readings.add(Reading(float(second), second * 3, 5, {"fds": 1.0}, is_full=second % 10 == 0))
    kept = list(readings)
    assert kept[0].at_s == 0.0
    assert kept[-1].at_s == seconds - 1
    assert [r.at_s for r in kept] == sorted(r.at_s for r in kept)
    for is_full in (True, False):
        times = [r.at_s for r in kept if r.is_full is is_full]
        assert MAX_READINGS / 2 <= len(times) <= MAX_READINGS + 1
        gaps = {round(later - earlier) for earlier, later in pairwise(times[:-1])}
        assert max(gaps) - min(gaps) <= 2, gaps  # a cheap reading gives way to a full reading


def test_few_readings_are_all_kept() -> None:
    readings = Readings()
    added = [Reading(float(n), n, 1, {}, is_full=n % 3 == 0) for n in range(MAX_READINGS)]
    for reading in added:
        readings.add(reading)
    assert list(readings) == added


def test_the_page_is_told_of_every_reading() -> None:
    given = [Reading(0.0, 0, 0, {"fds": 4.0, "heap": 1000.0}, True), Reading(1.0, 10, 2, {"fds": 6.0}, False)]
    told = series(given)
    assert told["load"] == {"x": [0.0, 1.0], "calls": [0, 10], "users": [0, 2]}
    assert told["resources"]["fds"] == {"bytes": False, "x": [0.0, 1.0], "y": [4.0, 6.0]}
    assert told["resources"]["heap"]["x"] == [0.0]
    assert [row["change"] for row in rows(given) if row["resource"] == "fds"] == ["+2"]
    assert rows([]) == []
