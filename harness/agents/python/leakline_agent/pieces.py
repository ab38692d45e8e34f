"""What grows in one piece: a text that is added to, a buffer, or what the collector does not show.

Such a thing is one block of memory however long it is, so no line makes it anew with each call. It is known by its
length under the name that it has in what holds it: a text that is added to is another one each time.
"""

import gc
import sys
from io import BytesIO, StringIO

from leakline_agent import census, keepers
from leakline_agent.frames import allocation_stack, described

_TEXTS = (str, bytes, bytearray)
_STREAMS = (BytesIO, StringIO)
_LEAST_BYTES, _LEAST_ENTRIES = 1024, 48
_MOST_ENTRIES, _MOST_VISITED = 10_000, 500_000


def lengths():
    """{(identity of what holds it, its name there): length}."""
    return {(id(holder), name): _length(piece) for holder, name, piece in _pieces()}


def grown(before, young, least):
    """[(by how much, piece)], most first, of those in `before` that what is not `young` holds, and that grew so much.

    In entries for a dict or a tuple; the others are counted in bytes or characters, and must have grown by sixteen
    times as many.
    """
    found = {}
    for holder, name, piece in _pieces():
        was = before.get((id(holder), name))
        if was is None or id(holder) in young:
            continue
        more = _length(piece) - was
        if more >= (16 * least if is_bytes(piece) else least):
            found[id(piece)] = more, piece  # once, though it may have two names
    return sorted(found.values(), key=lambda row: row[0], reverse=True)


def owners(found, young):
    """Rows as of `keepers.named`."""
    rows = []
    for unit, in_bytes in (("", False), ("bytes", True)):
        of_unit = [row for row in found if is_bytes(row[1]) is in_bytes]
        rows += keepers.named(of_unit, (found, of_unit), young, unit)
    return rows


def places(found, snapshot, taken):
    """[{"count", "bytes", "stack"}]: where those of `found` grew last, and by how much in all.

    A block is known among the traces of `snapshot` by its size, and noted in `taken`. One that did not have to move
    since memory is traced has none.
    """
    wanted = {}
    for more, piece in found:
        block = _block(piece)
        if block >= _LEAST_BYTES:
            wanted.setdefault(block, []).append((more, piece))
    traces = {}
    for trace in snapshot.traces if wanted and snapshot is not None else ():
        if trace.size in wanted:
            traces.setdefault(trace.size, []).append(trace)
    rows = []
    for block, same in traces.items():
        place = allocation_stack(same[0].traceback)
        if len(same) == len(wanted[block]) == 1 and place is not None:
            more, piece = wanted[block][0]
            entry = taken.setdefault(place, [0, 0])
            entry[0] += 1
            entry[1] += block
            size = round(more * block / _length(piece))
            rows.append({"count": more, "bytes": size, "stack": [described(frame) for frame in place]})
    return rows


def _pieces():
    """(what holds it, its name or place there, piece) of those that are long."""
    arrays = sys.modules.get("array")
    kinds = (*_TEXTS, *_STREAMS, dict, tuple, *((arrays.array,) if arrays is not None else ()))
    kinds = {id(kind) for kind in kinds}  # the hash of a class, and of a key, may be the SUT's own
    users, visited = {}, 0
    for holder in census.objects():
        kind = type(holder)
        if kind is dict:  # a module's, a class's, or any other
            if len(holder) > _MOST_ENTRIES:
                continue
            entries = list(holder.items())
        else:
            is_users = users.get(id(kind))
            if is_users is None:
                is_users = users[id(kind)] = keepers.is_users(kind)
            if not is_users:
                continue
            entries = enumerate(gc.get_referents(holder))  # by place: it may have no dict yet, and asking makes one
        visited += 1
        if visited > _MOST_VISITED:
            return
        for name, value in entries:
            if id(type(value)) in kinds and _is_long(value) and type(name) in (str, int):
                yield holder, name, value


def _is_long(piece):
    if is_bytes(piece):
        return _length(piece) >= _LEAST_BYTES
    # A dict that the collector tracks is with the containers.
    return len(piece) >= _LEAST_ENTRIES and (type(piece) is tuple or not gc.is_tracked(piece))


def is_bytes(piece):
    """Whether its length is one of memory, and not of entries."""
    return type(piece) not in (dict, tuple)


def _length(piece):
    kind = type(piece)
    if kind in _STREAMS:
        try:
            return piece.tell()
        except ValueError:  # closed
            return 0
    return len(piece) * getattr(piece, "itemsize", 1) if is_bytes(piece) else len(piece)


def _block(piece):
    """The size of the block that has its content; 0 where that cannot be asked."""
    kind = type(piece)
    if kind is bytearray:
        return piece.__alloc__()
    if kind in (str, bytes):
        return piece.__sizeof__()
    return piece.__sizeof__() - kind.__basicsize__ if is_bytes(piece) and kind is not StringIO else 0
