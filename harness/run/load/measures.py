"""The statistics of one call in a load run: names and milliseconds. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from leakline.harness.run.load.engine import CallOutcome

CALL = "call"
"""The name of the whole call: its length, its failure, the bytes that came from the server."""

LATENESS = "frame lateness (p99 of a second)"
"""How late the callers' own frames were: above a few milliseconds the load generator is at its limit."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One number for the statistics."""

    name: str
    milliseconds: float
    size_bytes: int = 0
    failure: str = ""


def measures(outcome: CallOutcome, speed: float) -> Iterator[Measure]:
    """The measures of one call; there is none of what did not happen in it. Times are real, whatever the `speed`."""
    result = outcome.result
    if result is None:
        if outcome.error:
            yield Measure(CALL, 1000 * outcome.seconds, failure=outcome.error)
        return
    heard, stats = result.heard, result.end.stats
    for name, seconds in (("webhook", result.webhook_s), ("TwiML", result.twiml_s), ("stream open", stats.open_s)):
        if seconds is not None:
            yield Measure(name, 1000 * seconds)
    if heard.first_audio_s is not None:
        yield Measure("first audio", 1000 * heard.first_audio_s / speed)
        yield Measure("jitter", 1000 * heard.jitter_s / speed)
        yield Measure("longest gap", 1000 * heard.longest_gap_s / speed)
        yield Measure("underrun", 1000 * heard.dry_s / speed)
    for answer_s in heard.answers_s:
        yield Measure("answer", 1000 * answer_s / speed)
    for silence_s in heard.silences_s:
        yield Measure("barge-in to silence", 1000 * silence_s / speed)
    if stats.close_s is not None:
        yield Measure("hang-up to close", 1000 * stats.close_s)
    yield Measure(CALL, 1000 * outcome.seconds, stats.received_bytes, result.failure)
