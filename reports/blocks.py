"""The one wording of a result: each finding and the whole result as rows of text, which every output renders.

This module knows no output: no colours, no markup, no escaping. It is also the one place in which text that came from
the server (names, paths, lines of its code, its errors) is made printable. Pure functions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from leakline.harness.data.model import Companion, Finding, Growth, How, InProcess, Level, RunResult, Site
from leakline.harness.data.resources import Resource
from leakline.harness.data.words import amount, printable, total, truncate
from leakline.harness.judge.compare import Difference

RowKind = Literal["leaking", "allowed", "inconclusive", "clean", "not measured", "calls", "note", "run", "report"]
DetailKind = Literal[
    "source", "reason", "site", "companion", "detail", "processes", "retainer", "types", "bounded", "failure", "more"
]

_MAX_NOTE_CHARACTERS = 400
_MAX_PATH_CHARACTERS = 1_000
_MAX_NOTE_LINES = 20
_MAX_FAILURE_REASONS = 5
_MAX_PROCESSES = 4

_HOW: Mapping[How, str] = {
    "held": "retained by it",
    "same line": "from the same line",
    "same function": "from the same function",
    "same rate": "in step with it",
    "in all": "process total",
}
"""The words for why a companion belongs to its finding."""

_VERDICTS = {
    "clean": "Clean: nothing grows with the calls",
    "inconclusive": "Inconclusive: whether it leaks cannot be told",
}


@dataclass(frozen=True, slots=True)
class Place:
    """A line of code that an output can link to."""

    file: str
    line: int
    function: str


@dataclass(frozen=True, slots=True)
class Detail:
    """A further line of text below a row."""

    kind: DetailKind
    text: str
    """The words."""
    code: str = ""
    """A name or a line of the server's code that follows the words; outputs may set it as code."""

    @property
    def line(self) -> str:
        """Words and code in one line."""
        return f"{self.text} {self.code}".rstrip()


@dataclass(frozen=True, slots=True)
class Row:
    """One statement of a result: a finding, a group of resources, a note."""

    kind: RowKind
    names: tuple[str, ...] = ()
    """The resources concerned."""
    text: str = ""
    """A growth with its confidence interval, or a reason, or a note."""
    where: str = ""
    """The allocation site, or what else is known where there is none."""
    places: tuple[Place, ...] = ()
    """The allocation sites, the one with the largest share first."""
    details: tuple[Detail, ...] = ()

    @property
    def label(self) -> str:
        """The word in front of the row."""
        return "LEAKING" if self.kind == "leaking" else self.kind


def headline(result: RunResult) -> str:
    """What ran: `SERVER · SCENARIO · 112 calls in 14 s`."""
    names = f"{printable(result.sut)} · {printable(result.scenario)}"
    return f"{names} · {result.calls.made:,} calls in {result.seconds:.0f} s"


def verdict(result: RunResult) -> str:
    """The outcome in one sentence."""
    if result.state != "leaking" or not result.findings:
        return _VERDICTS.get(result.state, "Leaking")
    first, more = result.findings[0], len(result.findings) - 1
    where = f" in {first.site.function or first.site.file}" if first.site is not None else ""
    rest = f", and {more} more" if more else ""
    grown = first.growth.text if isinstance(first.growth, Level) else rate(first.resource, first.per_cycle)
    return printable(f"Leaking: {first.resource} {grown}{where}", most=300) + rest


def rows(result: RunResult) -> tuple[Row, ...]:
    """All statements of a result, in the order in which a person should read them."""
    return (
        *(finding(each) for each in result.findings),
        *(_allowed(each, why) for each, why in result.allowed),
        *_inconclusive(result),
        *_clean(result),
        *_not_measured(result.unmeasured),
        *_calls(result),
        *(note(text) for text in result.notes),
        *([Row("run", text=printable(result.directory, _MAX_PATH_CHARACTERS))] if result.directory else []),
    )


def reasons(result: RunResult) -> tuple[Row, ...]:
    """Of `rows`, those that say why a result is inconclusive."""
    return tuple(row for row in rows(result) if row.kind in ("inconclusive", "calls", "note"))


def finding(of: Finding) -> Row:
    """A finding: its growth, its allocation sites, its companions and retainers."""
    return Row(
        "leaking",
        (printable(of.resource),),
        measure(of),
        _where(of),
        tuple(_place(site) for site in of.sites),
        tuple(_details(of)),
    )


def _details(of: Finding) -> Iterator[Detail]:
    if of.site is not None and of.site.text:
        yield Detail("source", f"{of.site.line} │", printable(of.site.text))
    for site in of.sites[1:]:
        yield Detail("site", "also from", printable(str(site)))
    for each in of.companions:
        yield Detail("companion", companion(each))
    if of.detail and of.site is not None:
        yield Detail("detail", printable(of.detail))
    if of.processes:
        yield Detail("processes", _processes(of.resource, of.processes))
    for name in of.kept_in:
        yield Detail("retainer", "retained by", printable(name))
    if of.types:
        yield Detail("types", "objects a call:", printable(", ".join(of.types)))


def _where(of: Finding) -> str:
    return printable(str(of.site)) if of.site is not None else printable(of.detail or "line not known")


def _place(site: Site) -> Place:
    return Place(printable(site.file, _MAX_PATH_CHARACTERS), site.line, printable(site.function))


def rate(resource: Resource, per_cycle: float) -> str:
    """A growth per call: `+4.00 a call`, `+3.1 KiB a call`."""
    return f"{amount(resource, per_cycle, sign=True)} a call"


def measure(of: Finding) -> str:
    """A finding's growth with its confidence interval, or `exact`: `+4.00 a call (exact, 211 calls)`.

    Of a level, the measurement in words.
    """
    growth = of.growth
    if isinstance(growth, Level):
        return printable(growth.text, _MAX_NOTE_CHARACTERS)
    if growth.exact:
        interval = "exact"
    else:
        share = of.per_cycle / growth.per_cycle  # the finding may be a part of the resource's growth
        low, high = (amount(of.resource, share * value) for value in (growth.low, growth.high))
        interval = f"{low} to {high}"
    return f"{rate(of.resource, of.per_cycle)} ({interval}, {growth.cycles:,} calls)"


def companion(of: Companion) -> str:
    """A companion: what grew with a finding, and why it belongs to it."""
    return f"{printable(of.resource)} {rate(of.resource, of.per_cycle)}, {_HOW[of.how]}"


def _processes(resource: Resource, processes: Sequence[InProcess]) -> str:
    grown = (f"{total(resource, each.grown)} in pid {each.pid}" for each in processes)
    return f"of {len(processes)} processes: {', '.join(truncate(grown, _MAX_PROCESSES))}"


def growth(of: Growth) -> str:
    """A resource's growth per call, and the reason of its state where there is one."""
    return f"{rate(of.resource, of.per_cycle)}{': ' if of.note else ''}{printable(of.note, _MAX_NOTE_CHARACTERS)}"


def _allowed(of: Finding, why: str) -> Row:
    row = finding(of)
    reason = Detail("reason", printable(why, _MAX_NOTE_CHARACTERS))
    return Row("allowed", row.names, row.text, row.where, row.places, (reason,))


def _inconclusive(result: RunResult) -> list[Row]:
    growths = [(each.resource, growth(each)) for each in result.growths if each.state == "inconclusive"]
    levels = [
        (each.resource, printable(each.text, _MAX_NOTE_CHARACTERS))
        for each in result.levels
        if each.state == "inconclusive"
    ]
    return [Row("inconclusive", (printable(name),), text) for name, text in (*growths, *levels)]


def _clean(result: RunResult) -> list[Row]:
    """One row for all clean resources; below it those that grew for a while, and why that is no leak."""
    growths = [each for each in result.growths if each.state == "clean"]
    levels = [each for each in result.levels if each.state == "clean"]
    names = [each.resource for each in growths] + [each.resource for each in levels]
    details = tuple(
        Detail("bounded", f"{printable(each.resource)} {growth(each)}")
        for each in growths
        if each.note and each.per_cycle > 0
    )
    return [Row("clean", tuple(printable(name) for name in names), details=details)] if names else []


def _not_measured(unmeasured: Mapping[Resource, str]) -> list[Row]:
    """One row for each reason, with the resources that were not measured because of it."""
    return [
        Row(
            "not measured",
            tuple(printable(name) for name, each in unmeasured.items() if each == why),
            printable(why, _MAX_NOTE_CHARACTERS),
        )
        for why in sorted(set(unmeasured.values()))
    ]


def _calls(result: RunResult) -> list[Row]:
    calls = result.calls
    if not calls.failed:
        return []
    failures = sorted(calls.failures.items(), key=lambda item: -item[1])
    details = [
        Detail("failure", f"{number:,} {'call' if number == 1 else 'calls'}: {printable(reason)}")
        for reason, number in failures[:_MAX_FAILURE_REASONS]
    ]
    if len(failures) > _MAX_FAILURE_REASONS:
        details.append(Detail("more", f"and {len(failures) - _MAX_FAILURE_REASONS:,} more reasons"))
    text = f"{calls.failed:,} of {calls.made:,} did not go as scripted"
    return [Row("calls", text=text, details=tuple(details))]


def note(text: str) -> Row:
    """A note. The first of its lines is the row, the others are details: it may quote output of the server."""
    first, *more = [printable(line, _MAX_NOTE_CHARACTERS) for line in text.splitlines()[:_MAX_NOTE_LINES]] or [""]
    return Row("note", text=first, details=tuple(Detail("more", line) for line in more))


def difference(of: Difference) -> str:
    """A leak in two runs, without the kind of the difference: `timers  +1.00 -> +3.00 a call  app.py:7  leak`."""
    found = of.finding

    def growth_of(value: float | None) -> str:
        return "none" if value is None else amount(found.resource, value, sign=True)

    added = [f"{printable(each.resource)} {rate(each.resource, each.per_cycle)}" for each in of.added]
    more = f"  now with {', '.join(added)}" if added else ""
    changed = f"{growth_of(of.before)} -> {growth_of(of.after)} a call"
    return f"{printable(found.resource)}  {changed}  {_where(found)}{more}"
