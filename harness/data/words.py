"""How amounts and names are written in messages, the same in every output."""

from __future__ import annotations

from collections.abc import Iterable

from leakline.harness.data.resources import BYTES, Resource

_UNITS = ("B", "KiB", "MiB", "GiB")


def amount(resource: Resource, value: float, *, sign: bool = False) -> str:
    """A number of things (`4.00`) or of bytes (`3.1 KiB`); `sign` puts a plus before what is not negative."""
    plus = "+" if sign else ""
    if resource not in BYTES:
        return f"{value:{plus}.2f}"
    size, unit = value, _UNITS[0]
    for unit in _UNITS:
        if abs(size) < 1024 or unit == _UNITS[-1]:
            break
        size /= 1024
    return f"{size:{plus}.0f} {unit}" if unit == "B" else f"{size:{plus}.1f} {unit}"


def total(resource: Resource, value: float) -> str:
    """A growth over all calls: `+24`, or `+3.1 KiB`."""
    return amount(resource, value, sign=True) if resource in BYTES else f"{value:+.0f}"


def truncate(texts: Iterable[str], most: int = 3) -> list[str]:
    """The first `most` of `texts`, then `and N more` where there are more."""
    every = list(texts)
    return every if len(every) <= most else [*every[:most], f"and {len(every) - most} more"]


def printable(text: str, most: int = 200) -> str:
    """`text` of a server made safe to show: without control characters, and at most `most` characters long."""
    clean = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return clean if len(clean) <= most else clean[: most - 1] + "…"
