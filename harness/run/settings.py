"""The settings of a soak run: one frozen record, checked when it is made, read from flags and from TOML."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from leakline.fakes.faults import FaultError, Rule, parse_rule
from leakline.harness.data.errors import UsageError
from leakline.harness.judge import budgets
from leakline.harness.judge.budgets import Policy
from leakline.harness.measure import gauges
from leakline.harness.server import certificates
from leakline.scenarios.library import load
from leakline.scenarios.scenario import Scenario, ScenarioError

CONFIG_FILES = ("leakline.toml", "pyproject.toml")
"""Where settings are looked for, in this order, in the working directory."""

_LISTS = ("allow", "code", "faults", "intercept")

_LIMITS: Mapping[str, tuple[float, float]] = {
    "cycles": (1, 1_000_000),
    "warmup": (0, 100_000),
    "concurrency": (1, 1_000),
    "speed": (0.1, 1_000),
    "pid": (0, 2**31),
    "openai_port": (0, 65_535),
    "settle": (0, 3_600),
    "start_timeout": (0.1, 3_600),
}


@dataclass(frozen=True)
class SoakSettings:
    """Settings of one soak run. Raises UsageError, naming the field, the value and what was expected."""

    sut: str = ""
    """The command that starts the server; `{port}` becomes a free port."""
    url: str = ""
    """Its voice webhook (`http://`), or its Media Streams WebSocket (`ws://`); `{port}` as in `sut`."""
    pid: int = 0
    """Process of a server that runs already, in place of `sut`; it must know the fake OpenAI's address."""
    openai_port: int = 0
    """Port of the fake OpenAI; by default a free one."""
    scenario: str = "question"
    """A built-in name, or `FILE.py:VARIABLE`."""
    cycles: int = 96
    """Calls that count."""
    warmup: int = 16
    """Calls before the first sample that counts."""
    concurrency: int = 8
    """Calls at a time; a sample is taken after each such batch."""
    speed: float = 10.0
    """Call seconds per second."""
    settle: float = 6.0
    """Seconds of the cool-down: what grew and goes away by itself within it is no leak."""
    start_timeout: float = 30.0
    """Seconds within which the server must listen."""
    env: Mapping[str, str] = field(default_factory=dict)
    """More environment variables for the server."""
    budgets: Mapping[str, Any] = field(default_factory=dict)
    """Growth a call that is allowed: `{"heap": "2 KiB/call", "two_burgers": {"timers": 0}}`."""
    allow: tuple[Mapping[str, Any], ...] = ()
    """Known leaks: `{site: pattern, reason: text, expires: date, resource: name}`."""
    gauges: Mapping[str, str] = field(default_factory=dict)
    """Numbers that the server publishes, judged as counters are: `{name: "http://127.0.0.1:{port}/health#active_calls"}`."""
    intercept: tuple[str, ...] = ()
    """Hosts that the server has hard-coded and that the fakes stand in for: `api.openai.com`, `api.twilio.com`."""
    peak: bool = False
    """Whether to make a few long calls, and measure the memory that they need while they last."""
    faults: tuple[str, ...] = ()
    """How the fake OpenAI fails, as rules in text: `latency(seconds=0.3)@realtime`."""
    name: str = ""
    """What to call the server; by default the first word of its command."""
    runs: str = "runs"
    """Folder for the runs' folders."""
    code: tuple[str, ...] = ()
    """Directories whose lines count as the user's own though they are installed."""

    def __post_init__(self) -> None:
        for name, (least, most) in _LIMITS.items():
            value = getattr(self, name)
            whole = isinstance(getattr(type(self), name), int)
            kind = "a whole number" if whole else "a number"
            right = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
            if not right or not math.isfinite(value) or not least <= value <= most:
                raise UsageError(f"{name}: expected {kind} from {least:,} to {most:,}, found {value!r}")
        if not isinstance(self.peak, bool):
            raise UsageError(f"peak: expected true or false, found {self.peak!r}")
        for name in ("sut", "url", "scenario", "name", "runs"):
            if not isinstance(getattr(self, name), str):
                raise UsageError(f"{name}: expected text, found {getattr(self, name)!r}")
        if not self.sut.strip() and not self.pid:
            raise UsageError("sut: expected a command that starts the server, found nothing")
        if self.sut.strip() and self.pid:
            raise UsageError("pid: expected no sut beside it: a server either runs already or is started")
        if self.pid and "{port}" in self.url:
            raise UsageError("url: expected the port of the server that runs, found '{port}'")
        if not isinstance(self.env, Mapping) or not all(
            isinstance(k, str) and isinstance(v, str) for k, v in self.env.items()
        ):
            raise UsageError(f"env: expected names and texts, found {self.env!r}")
        if not isinstance(self.intercept, tuple) or not all(isinstance(host, str) for host in self.intercept):
            raise UsageError(f"intercept: expected a list of hosts, found {self.intercept!r}")
        certificates.check_hosts(self.intercept)
        if not isinstance(self.gauges, Mapping) or not all(isinstance(v, str) for v in self.gauges.values()):
            raise UsageError(f"gauges: expected names and texts, found {self.gauges!r}")
        gauges.parse(self.gauges)
        self.policy()
        _check_url(self.url)
        self.load_scenario()
        self.fault_rules()

    def load_scenario(self) -> Scenario:
        """The scenario that the settings name. Raises UsageError."""
        return scenario_named(self.scenario)

    def fault_rules(self) -> tuple[Rule, ...]:
        """The rules that the settings name. Raises UsageError."""
        if not isinstance(self.faults, tuple) or not all(isinstance(text, str) for text in self.faults):
            raise UsageError(f"faults: expected a list of rules as text, found {self.faults!r}")
        try:
            return tuple(parse_rule(text) for text in self.faults)
        except FaultError as error:
            raise UsageError(str(error)) from None

    def policy(self) -> Policy:
        """What the settings allow. Raises UsageError."""
        return budgets.parse(self.budgets, self.allow)

    def with_port(self, port: int) -> SoakSettings:
        """The settings with `{port}` filled in."""

        def fill(text: str) -> str:
            return text.replace("{port}", str(port))

        return replace(
            self,
            sut=fill(self.sut),
            url=fill(self.url),
            env={name: fill(value) for name, value in self.env.items()},
            gauges={name: fill(value) for name, value in self.gauges.items()},
        )

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the server; known once `{port}` is filled in."""
        parts = urlsplit(self.url)
        return parts.hostname or "127.0.0.1", parts.port or (443 if parts.scheme in ("wss", "https") else 80)


def _check_url(url: str) -> None:
    parts = urlsplit(url.replace("{port}", "1"))
    try:
        good = parts.scheme in ("ws", "wss", "http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise UsageError(
            "url: expected the server's voice webhook or its Media Streams WebSocket, such as "
            f"ws://127.0.0.1:5050/media-stream, found {url!r}"
        )


def scenario_named(reference: str) -> Scenario:
    """The scenario that `reference` names. Raises UsageError."""
    try:
        return load(reference)
    except ScenarioError as error:
        raise UsageError(str(error)) from None


def pairs(option: str, texts: Iterable[str]) -> dict[str, str]:
    """What `NAME=VALUE` texts say; `option` is what a person gave them with. Raises UsageError."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"{option}: expected NAME=VALUE, found {text!r}")
        found[name] = value
    return found


def as_tuples(table: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as TOML or JSON has them, with tuples where a setting is a list."""
    return {key: tuple(value) if key in _LISTS and isinstance(value, list) else value for key, value in table.items()}


def from_files(directory: Path) -> dict[str, Any]:
    """The settings in the directory's `leakline.toml`, else in `[tool.leakline]` of its `pyproject.toml`.

    Raises UsageError for a file that cannot be read and for a name that is no setting.
    """
    for name in CONFIG_FILES:
        path = directory / name
        if not path.is_file():
            continue
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"{path}: cannot be read as TOML: {error}") from None
        if name == "pyproject.toml":
            tool = table.get("tool", {})
            table = tool.get("leakline", {}) if isinstance(tool, dict) else {}
        if not table:
            continue
        if not isinstance(table, dict):
            raise UsageError(f"{path}: tool.leakline: expected a table, found {table!r}")
        known = [f.name for f in fields(SoakSettings)]
        for key in table:
            if key not in known:
                raise UsageError(f"{path}: {key}: no such setting; expected one of {', '.join(known)}")
        return as_tuples(table)
    return {}


def make(given: Mapping[str, Any], directory: Path) -> SoakSettings:
    """Settings from what was `given` (None is not given) over the directory's files. Raises UsageError."""
    merged = from_files(directory) | {name: value for name, value in given.items() if value is not None}
    for name in ("sut", "url") if not merged.get("pid") else ("url",):
        if name not in merged:
            raise UsageError(
                f"{name}: not given; expected --{name} or '{name}' in [tool.leakline] of {directory}/pyproject.toml"
            )
    return SoakSettings(**merged)
