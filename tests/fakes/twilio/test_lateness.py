import pytest

from leakline.fakes.twilio.lateness import Lateness


def test_quantiles_are_those_of_the_delays_to_a_quarter_of_a_millisecond() -> None:
    late = Lateness()
    for number in range(1, 101):
        late.add(number / 10_000)
    assert len(late) == 100
    assert late.quantile(0.5) == pytest.approx(0.005, abs=0.00026)
    assert late.quantile(0.99) == pytest.approx(0.0099, abs=0.00026)
    assert late.quantile(1.0) == pytest.approx(0.01)


def test_early_and_very_late_ones_are_counted_and_nothing_grows() -> None:
    late, more = Lateness(), Lateness()
    late.add(-0.001)
    more.add(30.0)
    late.include(more)
    assert len(late) == 2
    assert late.quantile(0.5) <= 0.00025
    assert late.quantile(1.0) == late.longest_s == 30.0
    assert Lateness().quantile(0.99) == 0.0
