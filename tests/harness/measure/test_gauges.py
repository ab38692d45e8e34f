import pytest

from leakline.harness.data.errors import RunError, UsageError
from leakline.harness.measure.gauges import Gauge, parse, value_in

PAGE = (
    '# HELP calls Calls.\n# TYPE calls gauge\ncalls{kind="in"} 3\ncalls{kind="out"} 4.5\nup 1 1700000000\nbad NaNN\n'
)


@pytest.mark.parametrize(
    ("page", "path", "value"),
    [
        ('{"calls": {"active": 3}}', "calls.active", 3.0),
        ('{"queues": [1, 2.5]}', "queues.1", 2.5),
        (PAGE, "calls", 7.5),
        (PAGE, 'calls{kind="out"}', 4.5),
        (PAGE, "up", 1.0),
    ],
)
def test_a_gauges_number_is_found_in_json_and_prometheus_pages(page: str, path: str, value: float) -> None:
    assert value_in(page, Gauge("g", "http://127.0.0.1/", path)) == value


@pytest.mark.parametrize(
    ("page", "path", "problem"),
    [
        ('{"a": 1}', "b", "has no field 'b'"),
        ('{"a": [1]}', "a.7", "has no field"),
        ('{"a": true}', "a", "expected a number at 'a', found 'True'"),
        (PAGE, "missing", "neither JSON nor has it a metric 'missing'"),
    ],
)
def test_a_missing_or_non_numeric_gauge_is_an_error_that_names_it(page: str, path: str, problem: str) -> None:
    with pytest.raises(RunError, match=problem):
        value_in(page, Gauge("g", "http://127.0.0.1/", path))


@pytest.mark.parametrize(
    "given", [{"a b": "http://x/#y"}, {"a": "http://x/"}, {"a": "ftp://x/#y"}, {"": "http://x/#y"}]
)
def test_a_malformed_gauge_is_a_usage_error(given: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="gauges: "):
        parse(given)
