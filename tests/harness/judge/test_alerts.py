"""The five alerts, as pure functions of readings."""

from dataclasses import replace
from typing import Any

import pytest

from leakline.harness.data.errors import UsageError
from leakline.harness.judge.alerts import Alerts, Observation, Thresholds, thresholds

MB = 1_000_000
FIRST = Observation(0.0, 100.0 * MB, sockets=4, fds=20, fds_limit=100, timers=3, calls=0)


def changes(alerts: Alerts, *readings: Observation) -> list[str]:
    return [f"{'+' if c.raised else '-'}{c.alert}" for reading in readings for c in alerts.observe(reading)]


@pytest.mark.parametrize(
    ("bad", "just_right", "alert"),
    [
        ({"timers": 14.0}, {"timers": 13.0}, "timers"),
        ({"most_listened": ("Bus", "x", 11, 10)}, {"most_listened": ("Bus", "x", 10, 10)}, "listeners"),
        ({"heap_bytes": 150.0 * MB}, {"heap_bytes": 120.0 * MB}, "heap"),
        ({"fds": 81.0}, {"fds": 80.0}, "fds"),
        ({"sockets": 10.0}, {"sockets": 9.0}, "connections"),
        ({"sockets": 30.0, "calls": 10.0}, {"sockets": 29.0, "calls": 10.0}, "connections"),
    ],
)
def test_each_is_raised_once_and_cleared_once(bad: dict[str, Any], just_right: dict[str, Any], alert: str) -> None:
    alerts = Alerts(Thresholds())
    readings = [replace(FIRST, at_s=float(at), **bad) for at in (1, 2, 3)]
    assert changes(alerts, FIRST, *readings) == [f"+{alert}"]
    assert alerts.raised[alert]  # type: ignore[index]
    calm = [replace(FIRST, at_s=float(at), **just_right) for at in (4, 5)]
    assert changes(alerts, *calm) == [f"-{alert}"]
    assert alerts.raised == {}


def test_a_heap_that_grows_long_enough_is_an_alert_until_it_stops() -> None:
    alerts = Alerts(Thresholds(window_s=60))
    growing = [replace(FIRST, at_s=10.0 * n, heap_bytes=(100 + n) * MB) for n in range(10)]  # 360 MB an hour
    assert changes(alerts, *growing[:6]) == []
    assert changes(alerts, *growing[6:]) == ["+heap"]
    flat = [replace(FIRST, at_s=90 + 10.0 * n, heap_bytes=109 * MB) for n in range(1, 10)]
    assert changes(alerts, *flat) == ["-heap"]


def test_a_heap_that_grew_and_stopped_within_the_window_is_none() -> None:
    alerts = Alerts(Thresholds(window_s=60))
    grew = [replace(FIRST, at_s=10.0 * n, heap_bytes=(100 + min(n, 3)) * MB) for n in range(12)]
    assert changes(alerts, *grew) == []


def test_what_is_not_known_is_no_alert() -> None:
    unknown = Observation(0.0, 1.0, sockets=4, fds=90)
    assert changes(Alerts(Thresholds()), unknown, replace(unknown, at_s=1.0)) == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"timer": "1"}, "threshold: expected one of timers, listeners"),
        ({"timers": "many"}, "threshold timers: expected a number, found 'many'"),
        ({"timers": "-1"}, "threshold timers: expected a number of 0 or more"),
        ({"fds_share": "nan"}, "threshold fds_share: expected a number of 0 or more"),
        ({"window_s": "0"}, "threshold window_s: expected more than 0"),
    ],
)
def test_wrong_thresholds_are_refused(given: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        thresholds(given)
