"""Allocation sites of native memory, by memray: nothing in Python sees what C code allocates.

memray is the SUT's own; where it has none, the harness's (in the folder LEAKLINE_LEND, which has nothing else in it),
if that was built for the same interpreter.
"""

import os
import sys

from leakline_agent.frames import kind_of, up_to_loop

_MAX_SITES = 60
_MAX_FRAMES = 4
"""Frames of a stack that has none of the user's."""


class NativeTrace:
    """Traces all allocations from now on, native ones too. Raises ImportError when no memray can be imported.

    The trace file is written to `folder`, the harness's, and stays there: memray makes its own reports from it.
    """

    def __init__(self, folder):
        memray = _memray()
        self._path = os.path.join(folder, f"native-{os.getpid()}.bin")
        self._reader = memray.FileReader
        self._tracker = memray.Tracker(self._path, follow_fork=False)
        self._tracker.__enter__()

    def stop(self):
        """End the trace. [{"count", "bytes", "stack"}] of the memory not freed since, the most bytes first."""
        self._tracker.__exit__(None, None, None)
        groups = {}
        with self._reader(self._path) as reader:
            for record in reader.get_leaked_allocation_records(merge_threads=True):
                stack = _innermost(up_to_loop(record.stack_trace()))
                group = groups.setdefault(stack, [0, 0])
                group[0] += record.n_allocations
                group[1] += record.size
        rows = [
            {"count": number, "bytes": size, "stack": [_described(*frame) for frame in stack]}
            for stack, (number, size) in groups.items()
            if stack and not any(kind_of(file) == "agent" for _, file, _ in stack)
        ]
        return sorted(rows, key=lambda row: row["bytes"], reverse=True)[:_MAX_SITES]


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


def _innermost(frames):
    """The frames up to the innermost of the user's; the first `_MAX_FRAMES` when none is the user's.

    Frames further out are left out, since they differ between allocations of one site: memray does not know all
    callers of a coroutine that was suspended when the trace began.
    """
    for number, (_, file, _) in enumerate(frames, 1):
        if kind_of(file) == "user":
            return frames[:number]
    return frames[:_MAX_FRAMES]


def _described(_function, file, line):
    # The harness finds the function's qualified name in the source.
    return {"file": file, "line": line, "function": "", "kind": kind_of(file)}
