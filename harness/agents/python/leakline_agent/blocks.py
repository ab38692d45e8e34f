"""Growing blocks: long values of one block of memory, such as a text that is appended to, a buffer or a tuple.

A container grows by objects that each have an allocation site. These values do not: they grow inside their one
block, and an immutable one is replaced by a longer one. So a value is identified by the object that refers to it and
its name there, and its length is compared with the one at the start of the trace window.
"""

import gc
import sys
from io import BytesIO, StringIO

from leakline_agent import census, retainers
from leakline_agent.frames import allocation_stack, described

_TEXTS = (str, bytes, bytearray)
_STREAMS = (BytesIO, StringIO)
_MIN_BYTES, _MIN_ENTRIES = 1024, 48
"""Shorter values are not compared."""
_MAX_ENTRIES = 10_000
"""Entries of a dict whose values are looked at; longer dicts are skipped."""
_MAX_VISITED = 500_000
"""Objects whose referents are looked at."""


def lengths():
    """{(id of the object that refers to a long value, the value's name there): length}; units as of `_length`."""
    return {(id(retainer), name): _length(value) for retainer, name, value in _long_values()}


def grown(before, new_ids, least):
    """[(growth, value)], most first, of the values that grew since `before` (of `lengths`) by `least` or more.

    `least` is in entries; of values that are measured in bytes the least is 16 times that. Without values whose
    referrer is in `new_ids`: it was created in the trace window.
    """
    found = {}
    for retainer, name, value in _long_values():
        was = before.get((id(retainer), name))
        if was is None or id(retainer) in new_ids:
            continue
        growth = _length(value) - was
        if growth >= (16 * least if is_bytes(value) else least):
            found[id(value)] = growth, value  # once, though two objects may refer to it
    return sorted(found.values(), key=lambda row: row[0], reverse=True)


def owners(found, new_ids):
    """Rows as of `retainers.named`, of the (growth, value) rows `found`."""
    rows = []
    for unit, in_bytes in (("", False), ("bytes", True)):
        of_unit = [row for row in found if is_bytes(row[1]) is in_bytes]
        rows += retainers.named(of_unit, (found, of_unit), new_ids, unit)
    return rows


def sites(found, snapshot, charged):
    """[{"count": growth, "bytes": growth in bytes, "stack"}]: where the values of `found` were last allocated.

    tracemalloc finds no trace by a block's address, so a value's trace is the only one in `snapshot` of its block's
    size; where several have that size, the value has no row, and none if it was not reallocated within the window.
    The blocks are added to `charged`.
    """
    wanted = {}
    for growth, value in found:
        block = _block_size(value)
        if block >= _MIN_BYTES:
            wanted.setdefault(block, []).append((growth, value))
    traces = {}
    for trace in snapshot.traces if wanted and snapshot is not None else ():
        if trace.size in wanted:
            traces.setdefault(trace.size, []).append(trace)
    rows = []
    for block, same in traces.items():
        site = allocation_stack(same[0].traceback)
        if len(same) == len(wanted[block]) == 1 and site is not None:
            growth, value = wanted[block][0]
            entry = charged.setdefault(site, [0, 0])
            entry[0] += 1
            entry[1] += block
            size = round(growth * block / _length(value))
            rows.append({"count": growth, "bytes": size, "stack": [described(frame) for frame in site]})
    return rows


def _long_values():
    """(object that refers to it, its key or position there, value) of the long values."""
    arrays = sys.modules.get("array")
    kinds = (*_TEXTS, *_STREAMS, dict, tuple, *((arrays.array,) if arrays is not None else ()))
    kinds = {id(kind) for kind in kinds}  # the hash of a class, and of a key, may be the SUT's own
    users, visited = {}, 0
    for retainer in census.objects():
        kind = type(retainer)
        if kind is dict:  # a module's, a class's, or any other
            if len(retainer) > _MAX_ENTRIES:
                continue
            entries = list(retainer.items())
        else:
            is_users = users.get(id(kind))
            if is_users is None:
                is_users = users[id(kind)] = retainers.is_users(kind)
            if not is_users:
                continue
            entries = enumerate(gc.get_referents(retainer))  # by position: reading __dict__ would create it
        visited += 1
        if visited > _MAX_VISITED:
            return
        for name, value in entries:
            if id(type(value)) in kinds and _is_long(value) and type(name) in (str, int):
                yield retainer, name, value


def _is_long(value):
    if is_bytes(value):
        return _length(value) >= _MIN_BYTES
    # A dict that the collector tracks is a container (retainers.py).
    return len(value) >= _MIN_ENTRIES and (type(value) is tuple or not gc.is_tracked(value))


def is_bytes(value):
    """Whether the value's length is in bytes (or characters), not in entries."""
    return type(value) not in (dict, tuple)


def _length(value):
    """The length: bytes written to a stream, bytes of an array, characters of a str, entries of a dict or tuple."""
    kind = type(value)
    if kind in _STREAMS:
        try:
            return value.tell()
        except ValueError:  # closed
            return 0
    return len(value) * getattr(value, "itemsize", 1) if is_bytes(value) else len(value)


def _block_size(value):
    """Bytes of the block that has the value's content; 0 where that cannot be read."""
    kind = type(value)
    if kind is bytearray:
        return value.__alloc__()
    if kind in (str, bytes):
        return value.__sizeof__()
    return value.__sizeof__() - kind.__basicsize__ if is_bytes(value) and kind is not StringIO else 0
