"""Lines of native allocations, by memray: what C code allocates and keeps is seen by nothing in Python.

memray is the SUT's own, or lent by the harness (LEAKLINE_LEND is a folder with nothing else in it) when it was built
for the same interpreter.
"""

import os
import sys

from leakline_agent.frames import kind_of, up_to_loop

_MOST_SITES = 60
_MOST_FRAMES = 4


class NativeTrace:
    """What is allocated by any code from now on. Raises ImportError when there is no memray that fits.

    The trace stays in `folder`, which is the harness's: memray makes reports of its own from it.
    """

    def __init__(self, folder):
        memray = _memray()
        self._path = os.path.join(folder, f"native-{os.getpid()}.bin")
        self._reader = memray.FileReader
        self._tracker = memray.Tracker(self._path, follow_fork=False)
        self._tracker.__enter__()

    def stop(self):
        """Rows of what lives, by the stack that allocated it: [{"count", "bytes", "stack"}], the most bytes first."""
        self._tracker.__exit__(None, None, None)
        groups = {}
        with self._reader(self._path) as reader:
            for record in reader.get_leaked_allocation_records(merge_threads=True):
                stack = _inner(up_to_loop(record.stack_trace()))
                group = groups.setdefault(stack, [0, 0])
                group[0] += record.n_allocations
                group[1] += record.size
        rows = [
            {"count": number, "bytes": size, "stack": [_described(*frame) for frame in stack]}
            for stack, (number, size) in groups.items()
            if stack and not any(kind_of(file) == "agent" for _, file, _ in stack)
        ]
        return sorted(rows, key=lambda row: row["bytes"], reverse=True)[:_MOST_SITES]


def _memray():
    try:
        import memray
    except ImportError:
        lent = os.environ.get("LEAKLINE_LEND")
        if not lent:
            raise
        sys.path.append(lent)
        try:
            import memray
        finally:
            sys.path.remove(lent)
    return memray


def _inner(frames):
    """The frames up to the user's innermost, or a few when there is none.

    Further out memray knows more or less of coroutines that were suspended when the trace began.
    """
    for number, (_, file, _) in enumerate(frames, 1):
        if kind_of(file) == "user":
            return frames[:number]
    return frames[:_MOST_FRAMES]


def _described(_function, file, line):
    # The harness knows the qualified name from the source.
    return {"file": file, "line": line, "function": "", "kind": kind_of(file)}
