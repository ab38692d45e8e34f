"""What a run records for its reports, other than its outcome: settings, machine, and what the fakes saw."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from leakline.fakes.ledger import Ledger
from leakline.harness.data.model import Allocation, ConnectionRecord
from leakline.harness.data.survey import MIN_SURVIVORS_PER_CALL, Survey
from leakline.harness.run.settings import SoakSettings
from leakline.harness.server.programs import run_briefly

_MOST_SEEN = 400
_MOST_ALLOCATIONS = 60
_MEMRAY_S = 60.0
_LISTS = {"faults": "--fault", "intercept": "--intercept", "code": "--code"}


def about(settings: SoakSettings) -> dict[str, str]:
    """The run's circumstances, as names and texts. Values of the environment are left out: they may be secret."""
    return {
        "command": command(settings),
        "began": datetime.now().astimezone().isoformat(timespec="seconds"),
        "leakline": leakline_version(),
        "python": sys.version.split()[0],
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "warmup": str(settings.warmup),
        "speed": f"{settings.speed:g}",
    }


def leakline_version() -> str:
    """The installed version; empty when it runs from a checkout that is not installed."""
    try:
        return version("leakline")
    except PackageNotFoundError:
        return ""


def command(settings: SoakSettings) -> str:
    """The shell command that makes the same run again."""
    words = ["leakline", "soak"]
    for field in fields(settings):
        value = getattr(settings, field.name)
        flag = f"--{field.name.replace('_', '-')}"
        if field.name in ("budgets", "allow", "name") or value == field.default or not value:
            continue
        if field.name == "peak":
            words.append(flag)
        elif field.name == "env":
            words += [word for name in value for word in ("--env", f"{name}=...")]
        elif isinstance(value, Mapping):
            words += [word for name, each in value.items() for word in ("--gauge", f"{name}={each}")]
        elif field.name in _LISTS:
            words += [word for each in value for word in (_LISTS[field.name], str(each))]
        else:
            words += [flag, f"{value:g}" if isinstance(value, float) else str(value)]
    return shlex.join(words)


def seen(ledger: Ledger, began: float) -> tuple[ConnectionRecord, ...]:
    """The newest of what the fakes saw, oldest first. `began` is the run's beginning in Unix seconds."""
    rows = sorted((*ledger.ended(), *ledger.still_open()), key=lambda c: c.opened_at)[-_MOST_SEEN:]
    return tuple(
        ConnectionRecord(
            row.kind,
            row.call,
            round(row.opened_at - began, 3),
            None if row.closed_at is None else round(row.closed_at - began, 3),
            row.ending,
            row.has_failed,
        )
        for row in rows
    )


async def memray_reports(traces: Sequence[Path], folder: Path) -> tuple[str, ...]:
    """memray's own flame graphs of what is left, made in `folder`: their names. Without memray there are none."""
    made = []
    for trace in traces:
        name = f"memray-{trace.stem}.html"
        out = str(folder / name)
        command = [sys.executable, "-m", "memray", "flamegraph", "--leaks", "--force", "-o", out, str(trace)]
        status, _ = await run_briefly(*command, limit_s=_MEMRAY_S)
        if status == 0:
            made.append(name)
    return tuple(made)


def allocations(*surveys: Survey | None) -> tuple[Allocation, ...]:
    """Memory that stays after each call, by the stack that made it, most first; of the last survey that knows."""
    for survey in reversed([each for each in surveys if each is not None]):
        made = [
            row
            for rows in survey.made.values()
            for row in rows
            if row.count >= MIN_SURVIVORS_PER_CALL * survey.cycles
        ]
        found = [
            Allocation(row.stack, row.size_bytes / survey.cycles, row.count / survey.cycles)
            for row in (*made, *survey.allocated)
            if row.stack and row.size_bytes > 0
        ]
        if found:
            return tuple(sorted(found, key=lambda each: -each.bytes_per_cycle)[:_MOST_ALLOCATIONS])
    return ()
