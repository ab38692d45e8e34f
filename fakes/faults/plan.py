"""When faults strike: rules with a count, a probability or a script; random draws come from a seed."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from typing import Any, get_args

from leakline.fakes.faults.kinds import KINDS, Fault
from leakline.fakes.faults.point import Moment

_MOMENTS: tuple[Moment, ...] = get_args(Moment)

CALLER_ENDPOINTS = frozenset({"webhook", "status-callback", "media-stream", "browser"})
"""Endpoints that Twilio or a browser opens itself: there the fault is on the side that opens the connection."""


class FaultError(ValueError):
    """A rule that can never strike; the message says what was found and what was expected."""


@dataclass(frozen=True)
class Rule:
    """Which fault strikes, where (`on`), when (`at`), and how often.

    Raises FaultError for a fault that cannot strike there and then.
    """

    fault: Fault
    on: str = "*"
    """Endpoint, as the ledger names it (`realtime`, `chat.completions`); `*` and `?` match as in a shell."""
    at: str = "request"
    """A moment, or the type of an event (`response.done` of a Realtime session, `stop` of a Media Stream), just
    before which it strikes."""
    times: int | None = None
    """How often it strikes at the most; None for no limit."""
    probability: float = 1.0
    """Probability that it strikes each time that it could, from 0 to 1."""
    nth: frozenset[int] = frozenset()
    """At which of the times that it could strike it does, counted from 1; empty for all."""

    def __post_init__(self) -> None:
        if self.moment not in self.fault.moments:
            known = ", ".join(m for m in _MOMENTS if m in self.fault.moments)
            raise FaultError(f"{self.fault.name}: expected to strike at {known}, found {self.at!r}")
        if self.on in CALLER_ENDPOINTS and not self.fault.of_caller:
            raise FaultError(f"{self.fault.name}: expected an endpoint that answers, found {self.on!r}, which calls")
        if not 0 <= self.probability <= 1:
            raise FaultError(f"{self.fault.name}: probability: expected 0 to 1, found {self.probability!r}")
        if self.times is not None and self.times < 0:
            raise FaultError(f"{self.fault.name}: times: expected 0 or more, found {self.times!r}")

    def __str__(self) -> str:
        return f"{self.fault.name}@{self.on}/{self.at}"

    @property
    def moment(self) -> Moment:
        """The moment that `at` is, or `event` for an event's type."""
        return next((moment for moment in _MOMENTS if moment == self.at), "event")


class FaultPlan:
    """The rules of a run, and how often each has struck. The same `seed` gives the same random draws."""

    def __init__(self, rules: Iterable[Rule] = (), *, seed: int = 0, gone_s: float = 5.0) -> None:
        self.gone_s = gone_s
        """Real seconds that a caller which a fault has silenced is still there; then its connection is reset."""
        self._rules = tuple(rules)
        self._random = random.Random(seed)
        self._matched = [0] * len(self._rules)
        self._struck = [0] * len(self._rules)
        self.paused = False
        """Whether all rules are suspended."""

    @property
    def has_struck(self) -> bool:
        """Whether any rule has struck."""
        return any(self._struck)

    @property
    def is_empty(self) -> bool:
        """Whether there is no rule at all."""
        return not self._rules

    @property
    def struck(self) -> tuple[tuple[Rule, int], ...]:
        """Each rule with how often it has struck."""
        return tuple(zip(self._rules, self._struck, strict=True))

    def draw(self, on: str, at: Moment, event: str = "") -> Fault | None:
        """The fault that strikes now, or None: that of the first rule that matches and is due, which is counted."""
        if self.paused:
            return None
        for index, rule in enumerate(self._rules):
            if on in CALLER_ENDPOINTS and not rule.fault.of_caller:
                continue
            if rule.at not in ((at, event) if event else (at,)) or not fnmatchcase(on, rule.on):
                continue
            self._matched[index] += 1
            if rule.nth and self._matched[index] not in rule.nth:
                continue
            if rule.times is not None and self._struck[index] >= rule.times:
                continue
            if rule.probability < 1 and self._random.random() >= rule.probability:
                continue
            self._struck[index] += 1
            return rule.fault
        return None


_RULE = re.compile(
    r"\s*(?P<name>\w+)(?:\((?P<settings>[^)]*)\))?@(?P<on>[\w.*?-]+)(?:/(?P<at>[\w.]+))?"
    r"(?:\s+x(?P<times>\d+))?(?:\s+%(?P<percent>[\d.]+))?\s*"
)


def parse_rule(text: str) -> Rule:
    """A rule from text: `status(code=429, retry_after_s=1)@chat.completions x2`, `reset@realtime/response.done %50`.

    NAME(settings)@ENDPOINT/MOMENT, then `xN` for at most N times and `%P` for a probability of P per cent.
    Raises FaultError.
    """
    found = _RULE.fullmatch(text)
    if found is None:
        raise FaultError(
            "fault: expected NAME(setting=value)@ENDPOINT/MOMENT, such as "
            f"status(code=503)@chat.completions, found {text!r}"
        )
    kind = KINDS.get(found["name"])
    if kind is None:
        raise FaultError(f"fault: expected one of {', '.join(KINDS)}, found {found['name']!r}")
    return Rule(
        kind(**_settings(kind, found["settings"] or "")),
        on=found["on"],
        at=found["at"] or ("open" if "request" not in kind.moments and "open" in kind.moments else "request"),
        times=int(found["times"]) if found["times"] else None,
        probability=float(found["percent"]) / 100 if found["percent"] else 1.0,
    )


def _settings(kind: type[Fault], text: str) -> dict[str, Any]:
    known = {field.name: field for field in fields(kind)}
    settings: dict[str, Any] = {}
    for pair in filter(None, text.split(",")):
        name, equals, value = (part.strip() for part in pair.partition("="))
        if name not in known or not equals:
            raise FaultError(f"{kind.name}: expected settings {', '.join(known) or '(none)'}, found {pair!r}")
        default = known[name].default
        try:
            settings[name] = (
                int(value) if isinstance(default, int) else value if isinstance(default, str) else float(value)
            )
        except ValueError:
            raise FaultError(f"{kind.name}: {name}: expected a number, found {value!r}") from None
    return settings
