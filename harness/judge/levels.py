"""Levels that are too high whatever the number of calls: wake-ups while idle, memory within a call, errors unsaid.

Pure functions: what was measured in, a `Level` out.
"""

from __future__ import annotations

import math
import re

from leakline.harness.data.model import Level
from leakline.harness.data.words import amount

MOST_WAKEUPS = 1_800.0
"""Wake-ups a minute of an idle server's process. A server's own loop may wake ten times a second (uvicorn does)."""

STRETCHES = (1, 8, 16)
"""How many times as long as scripted the calls are whose memory is compared."""

_LEAST_PEAK_BYTES = 8.0 * 1024 * 1024
_STEADY_BYTES = 256.0 * 1024
_MOST_EXPONENT = 1.5
_LEAST_FAILURES = 3
_TOLD = 0.5

_TROUBLE = re.compile(
    r"\b(error|exception|warn(ing)?|fail(ed|ure|s)?|critical|fatal|traceback|panic|refused|rejected|reset|abort(ed)?"
    r"|time(d )?out|unavailable|overloaded|broken|broke|lost|cannot|could not|couldn't|unable|denied|invalid"
    r"|[45]\d\d)\b|(?-i:[a-z](Error|Exception)\b)",
    re.IGNORECASE,
)


def wakeups(number: float, seconds: float, limit: float = MOST_WAKEUPS) -> Level:
    """Judge `number` wake-ups in so many seconds without a call."""
    rate = 60 * number / seconds
    text = f"{rate:,.0f} a minute while idle; {limit:,.0f} is the limit"
    return Level("wakeups", "leaking" if rate > limit else "clean", rate, limit, text)


def peak_heap(short: float, long: float, longer: float) -> Level:
    """Judge the bytes beyond rest that calls of STRETCHES need: one as scripted, two of which one is twice as long.

    Memory that grows in proportion to the length of a call is what a recording needs; more is a copy of copies.
    What any call needs, however short, is in all three and goes with the differences.
    """
    more, twice = max(long - short, _STEADY_BYTES), max(longer - short, 1.0)
    exponent = math.log2(twice / more)
    too_much = longer >= _LEAST_PEAK_BYTES and exponent > _MOST_EXPONENT
    text = (
        f"{amount('peak_heap', longer, sign=True)} within a call {STRETCHES[2]} times as long, "
        f"{amount('peak_heap', long, sign=True)} within one {STRETCHES[1]} times, "
        f"{amount('peak_heap', short, sign=True)} within one as scripted"
    )
    if too_much:
        text += f": it grows with the length to the power of {exponent:.1f}"
    return Level("peak_heap", "leaking" if too_much else "clean", longer, _LEAST_PEAK_BYTES, text)


def silent_errors(failed: int, told: int) -> Level:
    """Judge whether a server speaks of its failures: `failed` calls with one, `told` lines of trouble."""
    silent = max(0, failed - told)
    quiet = failed >= _LEAST_FAILURES and told < _TOLD * failed
    text = f"in {failed} calls a request failed for good; the server printed {told} lines of trouble"
    return Level("silent_errors", "leaking" if quiet else "clean", float(silent), 0.0, text)


def lines_of_trouble(text: str) -> int:
    """How many lines of a server's output speak of something that went wrong."""
    return sum(1 for line in text.splitlines() if _TROUBLE.search(line))
