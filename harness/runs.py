"""Runs that have been: their results read back from their journals."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness import verdict
from harness.errors import UsageError
from harness.journal import FILE_NAME
from harness.model import (
    Allocation,
    CallStats,
    Companion,
    Finding,
    Frame,
    Growth,
    Level,
    RunResult,
    Sample,
    Seen,
    Site,
)
from harness.settings import as_tuples


def load(path: Path) -> RunResult:
    """The result of a run from its folder or its journal, or from a baseline.

    Of a run that did not come to its end it is what the samples so far tell. Raises UsageError.
    """
    records = _records(path)
    try:
        return _result(records, path)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{path}: not a run of this version: {type(error).__name__}: {error}") from None


def _records(path: Path) -> list[dict[str, Any]]:
    file = path / FILE_NAME if path.is_dir() else path
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: expected a run's folder or a baseline; cannot be read: {error}") from None
    records: list[dict[str, Any]] = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            record = json.loads(line)
        except ValueError:
            if number == len(text.splitlines()) and records:
                break  # the run was cut off as it wrote
            raise UsageError(f"{file}:{number}: expected a record in JSON, found {line[:60]!r}") from None
        if not isinstance(record, dict):
            raise UsageError(f"{file}:{number}: expected a record, found {line[:60]!r}")
        records.append(record)
    return records


def settings_of(path: Path, env: Mapping[str, str]) -> tuple[dict[str, Any], int]:
    """The settings that a run had, to make it again, and how many calls it came to.

    The values of its environment were not kept: those in `env` are taken. Raises UsageError.
    """
    records = _records(path)
    first = next((r for r in records if r.get("kind") == "run"), None)
    settings = first.get("settings") if first is not None else None
    if not isinstance(settings, dict):
        raise UsageError(f"{path}: expected a run's folder, found no record of a run's beginning")
    missing = [name for name in settings.get("env", ()) if name not in env]
    if missing:
        raise UsageError(f"env: expected --env {missing[0]}=VALUE again: values are not kept with a run")
    made = max((int(r["cycles"]) for r in records if r.get("kind") == "sample"), default=0)
    return as_tuples({**settings, "env": dict(env)}), made


def _result(records: list[dict[str, Any]], path: Path) -> RunResult:
    done = next((r for r in reversed(records) if r.get("kind") == "result"), None)
    if done is not None:
        return from_json(done)
    first = next((r for r in records if r.get("kind") == "run"), None)
    if first is None:
        raise KeyError("no record of a run's beginning")
    samples = tuple(Sample(r["cycles"], 0.0, r["values"]) for r in records if r.get("kind") == "sample")
    failed = next((r["error"] for r in records if r.get("kind") == "failed"), "it was cut off")
    return RunResult(
        sut=first["settings"].get("name") or first["settings"]["sut"].split(" ")[0],
        scenario=first["scenario"]["name"],
        state="inconclusive",
        calls=CallStats(samples[-1].cycles if samples else 0, samples[-1].cycles if samples else 0),
        seconds=0.0,
        growths=verdict.judge(samples),
        findings=(),
        samples=samples,
        notes=(f"the run did not come to its end: {failed}",),
        about=first.get("about", {}),
        directory=str(path),
    )


def from_json(data: Mapping[str, Any]) -> RunResult:
    """What `RunResult.to_json` gave. Raises KeyError, TypeError for something else."""
    return RunResult(
        sut=data["sut"],
        scenario=data["scenario"],
        state=data["state"],
        calls=CallStats(**data["calls"]),
        seconds=data["seconds"],
        growths=tuple(Growth(**g) for g in data["growths"]),
        findings=tuple(_finding(f) for f in data["findings"]),
        samples=tuple(Sample(**s) for s in data.get("samples", ())),
        levels=tuple(Level(**level) for level in data.get("levels", ())),
        allowed=tuple((_finding(f), str(why)) for f, why in data.get("allowed", ())),
        unmeasured=dict(data.get("unmeasured", {})),
        notes=tuple(data.get("notes", ())),
        directory=data.get("directory", ""),
        allocations=tuple(
            Allocation(**{**each, "stack": tuple(Frame(**f) for f in each["stack"])})
            for each in data.get("allocations", ())
        ),
        beside=tuple(data.get("beside", ())),
        seen=tuple(Seen(**each) for each in data.get("seen", ())),
        faults=dict(data.get("faults", {})),
        about=dict(data.get("about", {})),
    )


def _site(data: Mapping[str, Any]) -> Site:
    return Site(**{**data, "context": tuple((int(n), str(text)) for n, text in data.get("context", ()))})


def _finding(data: Mapping[str, Any]) -> Finding:
    growth = data["growth"]
    return Finding(
        resource=data["resource"],
        per_cycle=data["per_cycle"],
        growth=Level(**growth) if "limit" in growth else Growth(**growth),
        sites=tuple(_site(site) for site in data["sites"]),
        companions=tuple(Companion(**companion) for companion in data["companions"]),
        stack=tuple(Frame(**frame) for frame in data["stack"]),
        detail=data.get("detail", ""),
        kept_in=tuple(data.get("kept_in", ())),
        types=tuple(data.get("types", ())),
    )
