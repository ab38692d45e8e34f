from typing import Any

import pytest

from leakline.harness.data.errors import UsageError
from leakline.harness.judge import budgets


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (({"heap": "lots"}, []), r"budgets\.heap: expected an amount such as '2 KiB/call', found 'lots'"),
        (({"timers": "2 KiB"}, []), r"budgets\.timers: expected a number"),
        (({"timers": -1}, []), r"budgets\.timers"),
        (({"tmiers": 1}, []), r"budgets: expected one of connections, .*, found 'tmiers'"),
        (({"question": {"x": 1}}, []), r"budgets\.question: expected one of"),
        ((5, []), "budgets: expected a table"),
        (({}, "x"), "allow: expected a list"),
        (({}, [{"site": "x"}]), r"allow\[1\]: expected a table with site and reason"),
        (({}, [{"site": "x", "reason": "y", "expires": "soon"}]), r"allow\[1\]\.expires: expected a date"),
    ],
)
def test_a_wrong_budget_is_named(given: tuple[Any, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        budgets.parse(*given)
