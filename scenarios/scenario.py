"""A scenario: the script of one call, checked when it is made."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, TypeGuard

from leakline.fakes.audio import SAMPLE_RATE
from leakline.fakes.faults import FaultError, Rule, parse_rule
from leakline.fakes.openai.script import FunctionCall, ModelScript, Turn
from leakline.scenarios.caller import MOST_JITTER_S, PAYLOAD, Browser, Network
from leakline.scenarios.steps import Agent, Drop, HangUp, Listen, Pause, Press, Say, Send, Step

_KEYS = "0123456789*#"

MOST_SECONDS = 600.0
"""Longest single step, in seconds of call time."""


class ScenarioError(ValueError):
    """A scenario that cannot be played; the message names the step and what was expected."""


@dataclass(frozen=True, init=False)
class Scenario:
    """One list of steps, in order of time, that scripts both caller and agent.

    Raises ScenarioError for a scenario that cannot be played.
    """

    name: str
    """Letters, digits, `-` and `_`."""
    steps: tuple[Step, ...]
    """The last one is `HangUp` or `Drop`; `HangUp` is appended when neither is."""
    chat: tuple[str | Turn, ...]
    """Replies of the fake's chat completions and responses, in order and then from the first again."""
    faults: tuple[str, ...]
    """How the fakes fail, as rules in text: `latency(seconds=0.3)@realtime` (see `parse_rule`)."""
    about: str
    """What happens in the call, in one line."""
    network: Network | None
    """The caller's network; None for a perfect one."""
    browser: Browser | None
    """The page that calls; None for a telephone."""
    refusable: bool
    """Whether the call goes as scripted too when the server refuses or ends it."""
    restart_after_s: float | None
    """When the server is restarted, in seconds of call time after a batch of calls has begun; None for never."""

    def __init__(
        self,
        name: str,
        *steps: Step,
        chat: tuple[str | Turn, ...] = ("OK.",),
        faults: tuple[str, ...] = (),
        about: str = "",
        network: Network | None = None,
        browser: Browser | None = None,
        refusable: bool = False,
        restart_after_s: float | None = None,
    ) -> None:
        if not steps or not isinstance(steps[-1], HangUp | Drop):
            steps = (*steps, HangUp())
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "steps", steps)
        object.__setattr__(self, "chat", chat)
        object.__setattr__(self, "faults", tuple(faults))
        object.__setattr__(self, "about", about)
        object.__setattr__(self, "network", network)
        object.__setattr__(self, "browser", browser)
        object.__setattr__(self, "refusable", refusable)
        object.__setattr__(self, "restart_after_s", restart_after_s)
        self._check()

    def _check(self) -> None:
        if not isinstance(self.name, str) or not self.name.replace("_", "").replace("-", "").isalnum():
            raise ScenarioError(f"name: expected letters, digits, '-' and '_', found {self.name!r}")
        if not self.chat:
            raise ScenarioError(f"{self.name}: chat: expected at least one reply, found none")
        try:
            _ = self.fault_rules
        except (FaultError, TypeError) as error:
            raise ScenarioError(f"{self.name}: faults: {error}") from None
        self._check_caller()
        for number, step in enumerate(self.steps, 1):
            where = f"{self.name}: step {number}"
            if not isinstance(step, Step):
                raise ScenarioError(f"{where}: expected a step such as Say(...), found {step!r}")
            for field in ("message", "transcript", "digits"):
                text = getattr(step, field, "")
                if not isinstance(text, str):
                    raise ScenarioError(f"{where}: {type(step).__name__}.{field}: expected a string, found {text!r}")
            if isinstance(step, HangUp | Drop) and number < len(self.steps):
                raise ScenarioError(f"{where}: {type(step).__name__} must be the last step")
            if isinstance(step, Press) and (not step.digits or set(step.digits) - set(_KEYS)):
                raise ScenarioError(f"{where}: Press.digits: expected keys of {_KEYS}, found {step.digits!r}")
            if isinstance(step, Send | Press) and isinstance(step, Send) != (self.browser is not None):
                whose = "a browser's call" if isinstance(step, Send) else "a telephone's"
                raise ScenarioError(f"{where}: {type(step).__name__} is a step of {whose}")
            seconds = getattr(step, "seconds", None)
            if seconds is None and (isinstance(step, Listen) or not hasattr(step, "seconds")):
                continue
            if not (_is_number(seconds) and 0 < seconds <= MOST_SECONDS):
                raise ScenarioError(
                    f"{where}: {type(step).__name__}.seconds: expected a number above 0 and "
                    f"up to {MOST_SECONDS:.0f}, found {seconds!r}"
                )

    def _check_caller(self) -> None:
        after = self.restart_after_s
        if after is not None and (not _is_number(after) or not 0 < after <= MOST_SECONDS):
            raise ScenarioError(
                f"{self.name}: restart_after_s: expected a number above 0 and up to {MOST_SECONDS:.0f}, "
                f"found {after!r}"
            )
        if after is not None and not self.refusable:
            raise ScenarioError(f"{self.name}: restart_after_s: expected a refusable call, since it is cut off")
        network, browser = self.network, self.browser
        if network is not None and browser is not None:
            raise ScenarioError(f"{self.name}: expected a network or a browser, found both")
        if network is not None:
            for field, most in (("jitter_s", MOST_JITTER_S), ("loss", 1.0)):
                value = getattr(network, field)
                if not _is_number(value) or not 0 <= value <= most:
                    raise ScenarioError(f"{self.name}: network.{field}: expected 0 to {most:g}, found {value!r}")
        if browser is not None:
            if not isinstance(browser.path, str) or not browser.path.startswith("/"):
                raise ScenarioError(f"{self.name}: browser.path: expected such as '/voice', found {browser.path!r}")
            if browser.audio and browser.audio.count(PAYLOAD) != 1:
                raise ScenarioError(
                    f"{self.name}: browser.audio: expected a text with {PAYLOAD} in it once, found {browser.audio!r}"
                )
            if browser.format not in SAMPLE_RATE:
                raise ScenarioError(
                    f"{self.name}: browser.format: expected one of {', '.join(SAMPLE_RATE)}, found {browser.format!r}"
                )

    @property
    def model_script(self) -> ModelScript:
        """The agent's part of the script, for the fake model."""
        return ModelScript(
            turns=tuple(Turn(s.transcript, s.seconds, s.calls) for s in self.steps if isinstance(s, Agent)),
            hears=tuple(s.transcript for s in self.steps if isinstance(s, Say)),
            chat=self.chat,
        )

    @property
    def fault_rules(self) -> tuple[Rule, ...]:
        """The rules of `faults`, parsed."""
        return tuple(parse_rule(text) for text in self.faults)

    @property
    def seconds(self) -> float:
        """How long the call takes by its script, about, in seconds of call time."""
        lengths = (
            getattr(s, "seconds", None) or 0.0 for s in self.steps if isinstance(s, Say | Pause | Agent | Listen)
        )
        return sum(lengths)

    def stretched(self, times: float) -> Scenario:
        """The same scenario with each `Say` and `Pause` `times` as long. Raises ScenarioError if that is too long."""
        steps = [replace(s, seconds=times * s.seconds) if isinstance(s, Say | Pause) else s for s in self.steps]
        rest = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("name", "steps")}
        return Scenario(self.name, *steps, **rest)

    def to_json(self) -> dict[str, Any]:
        """The scenario as plain data."""
        steps = []
        for step in self.steps:
            fields = dict(vars(step))
            if isinstance(step, Agent):
                fields["calls"] = _calls(step.calls)
            steps.append({"step": type(step).__name__, **fields})
        chat = [r if isinstance(r, str) else {**vars(r), "calls": _calls(r.calls)} for r in self.chat]
        caller: dict[str, Any] = {
            key: asdict(value) for key, value in (("network", self.network), ("browser", self.browser)) if value
        }
        if self.refusable:
            caller["refusable"] = True
        if self.restart_after_s is not None:
            caller["restart_after_s"] = self.restart_after_s
        return {"name": self.name, "steps": steps, "chat": chat, "faults": list(self.faults), **caller}


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _calls(calls: tuple[FunctionCall, ...]) -> list[dict[str, Any]]:
    return [{"name": call.name, "arguments": dict(call.arguments)} for call in calls]
