"""Judges levels, which are too high whatever the number of calls: wake-ups while idle, peak memory within a call,
failures that the server does not log. Pure functions: measurements in, a `Level` out.
"""

from __future__ import annotations

import math
import re

from leakline.harness.data.model import Level
from leakline.harness.data.words import amount

MOST_WAKEUPS = 1_800.0
"""Limit of an idle process's wake-ups, a minute: three times the 600 of a loop that polls ten times a second, as
uvicorn's does."""

CALL_LENGTHS = (1, 8, 16)
"""Lengths of the calls whose peak memory is compared, in lengths of the scripted call."""

_MIN_PEAK_BYTES = 8.0 * 1024 * 1024
"""Peak memory of the longest call below which it is not judged."""

_MIN_PEAK_DIFFERENCE_BYTES = 256.0 * 1024
"""Difference between two calls below which it counts as noise."""

_MAX_EXPONENT = 1.5
"""Power of a call's length with which its peak memory may grow: 1 is in proportion, 2 with the square."""

_MIN_FAILURES = 3
"""Failed calls below which it is not judged whether a server logs its failures."""

_MIN_LOGGED_FRACTION = 0.5
"""Error lines per failed call that a server should log."""

_ERROR_LINE = re.compile(
    r"\b(error|exception|warn(ing)?|fail(ed|ure|s)?|critical|fatal|traceback|panic|refused|rejected|reset|abort(ed)?"
    r"|time(d )?out|unavailable|overloaded|broken|broke|lost|cannot|could not|couldn't|unable|denied|invalid"
    r"|[45]\d\d)\b|(?-i:[a-z](Error|Exception)\b)",
    re.IGNORECASE,
)


def wakeups(number: float, seconds: float, limit: float = MOST_WAKEUPS) -> Level:
    """Judge `number` wake-ups of a process in so many seconds without a call; `limit` is in wake-ups a minute."""
    rate = 60 * number / seconds
    text = f"{rate:,.0f} a minute while idle; {limit:,.0f} is the limit"
    return Level("wakeups", "leaking" if rate > limit else "clean", rate, limit, text)


def peak_heap(short: float, long: float, longer: float) -> Level:
    """Judge the peak memory of calls of CALL_LENGTHS, in bytes above what the idle server has.

    Memory in proportion to the length of a call is what a recording needs; memory that grows faster comes from copies
    that are made again and again. What any call needs, however short, is in all three and cancels out in their
    differences.
    """
    first, second = max(long - short, _MIN_PEAK_DIFFERENCE_BYTES), max(longer - short, 1.0)
    exponent = math.log2(second / first)
    too_much = longer >= _MIN_PEAK_BYTES and exponent > _MAX_EXPONENT
    text = (
        f"{amount('peak_heap', longer, sign=True)} within a call {CALL_LENGTHS[2]} times as long, "
        f"{amount('peak_heap', long, sign=True)} within one {CALL_LENGTHS[1]} times, "
        f"{amount('peak_heap', short, sign=True)} within one as scripted"
    )
    if too_much:
        text += f": it grows with the length to the power of {exponent:.1f}"
    return Level("peak_heap", "leaking" if too_much else "clean", longer, _MIN_PEAK_BYTES, text)


def silent_errors(failed: int, logged: int) -> Level:
    """Judge whether a server logs its failures: `failed` calls in which one occurred, `logged` error lines."""
    silent = max(0, failed - logged)
    is_silent = failed >= _MIN_FAILURES and logged < _MIN_LOGGED_FRACTION * failed
    text = f"in {failed} calls a request failed for good; the server printed {logged} lines that speak of an error"
    return Level("silent_errors", "leaking" if is_silent else "clean", float(silent), 0.0, text)


def error_lines(text: str) -> int:
    """The number of lines of a server's output that speak of an error."""
    return sum(1 for line in text.splitlines() if _ERROR_LINE.search(line))
