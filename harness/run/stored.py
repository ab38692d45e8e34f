"""Runs that have been: their results read back from their journals."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import dacite

from leakline.harness.data.errors import UsageError
from leakline.harness.data.model import RunResult, Sample
from leakline.harness.judge.growth import judge
from leakline.harness.run.journal import FILE_NAME
from leakline.harness.run.settings import as_tuples

_CAST = dacite.Config(cast=[tuple])


def load(path: Path) -> RunResult:
    """The result of a run from its folder or its journal, or from a baseline.

    Of a run that did not come to its end it is what the samples so far tell. Raises UsageError.
    """
    records = _records(path)
    try:
        return _result(records, path)
    except (dacite.DaciteError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
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
    samples = tuple(dacite.from_dict(Sample, {"at_s": 0.0, **r}, _CAST) for r in records if r.get("kind") == "sample")
    failed = next((r["error"] for r in records if r.get("kind") == "failed"), "it was cut off")
    settings, made = first["settings"], samples[-1].cycles if samples else 0
    found = {
        "sut": settings.get("name") or settings["sut"].split(" ")[0],
        "scenario": first["scenario"]["name"],
        "state": "inconclusive",
        "calls": {"made": made, "as_scripted": made},
        "seconds": 0.0,
        "growths": (),
        "findings": (),
        "samples": (),
        "notes": (f"the run did not come to its end: {failed}",),
        "about": first.get("about", {}),
        "directory": str(path),
    }
    return replace(from_json(found), growths=judge(samples), samples=samples)


def from_json(data: Mapping[str, Any]) -> RunResult:
    """What `RunResult.to_json` gave. Raises DaciteError for something else; what a newer version adds is left out."""
    return dacite.from_dict(RunResult, data, _CAST)
