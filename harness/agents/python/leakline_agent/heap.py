"""Bytes of memory in use in this process, as the allocators report them: exact, and no cost between samples.

There are two allocators. CPython's, for small objects, reports its blocks in use (as `sys._debugmallocstats` prints
them; here the text is written to memory). The C library's, for larger blocks and for native libraries, reports its
own (`mallinfo2`, glibc 2.33 and newer). glibc counts the content of its per-thread caches as in use, so the harness
switches these off (`GLIBC_TUNABLES`). Where either cannot report, the caller uses `tracemalloc` instead.
"""

import re

try:
    import ctypes  # here, not later: the agent's imports run while no fork can happen (channel.py)
except ImportError:  # a Python that was built without libffi
    ctypes = None

_IN_BLOCKS = re.compile(rb"bytes in allocated blocks\s*=\s*([\d,]+)")
_allocators = None
"""Reads the allocators; False where they cannot be read, None before the first try."""


def in_use():
    """Bytes in use; None where the allocators do not report it (no glibc, or while tracemalloc wraps them)."""
    global _allocators
    if _allocators is None:
        try:
            _allocators = _Allocators()
        except Exception:
            _allocators = False
    return _allocators.in_use() if _allocators else None


class _Allocators:
    def __init__(self):
        class Mallinfo2(ctypes.Structure):
            # struct mallinfo2, <malloc.h> of glibc 2.33
            _fields_ = tuple(
                (name, ctypes.c_size_t)
                for name in (
                    "arena",
                    "ordblks",
                    "smblks",
                    "hblks",
                    "hblkhd",
                    "usmblks",
                    "fsmblks",
                    "uordblks",
                    "fordblks",
                    "keepcost",
                )
            )

        # PyDLL does not release the GIL: no Python code allocates while the allocators are read.
        library = ctypes.PyDLL(None)
        self._mallinfo2 = library.mallinfo2
        self._mallinfo2.restype = Mallinfo2
        self._stats = ctypes.pythonapi._PyObject_DebugMallocStats
        self._stats.argtypes = [ctypes.c_void_p]
        self._stats.restype = ctypes.c_int
        self._open_memstream = library.open_memstream
        self._open_memstream.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(ctypes.c_size_t)]
        self._open_memstream.restype = ctypes.c_void_p
        self._fclose, self._free = library.fclose, library.free
        self._fclose.argtypes = self._free.argtypes = [ctypes.c_void_p]
        self._report()

    def in_use(self):
        blocks = _IN_BLOCKS.search(self._report())
        if blocks is None:
            return None
        info = self._mallinfo2()
        native = info.uordblks + info.hblkhd
        return native + int(blocks.group(1).replace(b",", b""))

    def _report(self):
        text, size = ctypes.c_void_p(), ctypes.c_size_t()
        stream = self._open_memstream(ctypes.byref(text), ctypes.byref(size))
        if not stream:
            raise MemoryError
        try:
            self._stats(stream)
        finally:
            self._fclose(stream)
            report = ctypes.string_at(text, size.value)
            self._free(text)
        return report
