"""Faults: how the outside world fails, on any endpoint and at any moment, by count, probability or script."""

from leakline.fakes.faults.kinds import (
    KINDS,
    BlackHole,
    Close,
    Cut,
    Error,
    ExpireSession,
    Fault,
    HalfOpen,
    Latency,
    Malformed,
    Oversize,
    Refuse,
    Reset,
    SlowRead,
    Status,
)
from leakline.fakes.faults.plan import FaultError, FaultPlan, Rule, parse_rule
from leakline.fakes.faults.point import Answered, Gone, Point

__all__ = [
    "KINDS",
    "Answered",
    "BlackHole",
    "Close",
    "Cut",
    "Error",
    "ExpireSession",
    "Fault",
    "FaultError",
    "FaultPlan",
    "Gone",
    "HalfOpen",
    "Latency",
    "Malformed",
    "Oversize",
    "Point",
    "Refuse",
    "Reset",
    "Rule",
    "SlowRead",
    "Status",
    "parse_rule",
]
