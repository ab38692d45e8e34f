"""How many bytes of memory are in use in this process, asked of the allocators: exact, and free until asked.

Two allocators are asked. CPython's own for small objects knows its blocks in use (what `sys._debugmallocstats`
prints, here written to memory). The C library's, which serves all that is larger and every native library, knows
its own (`mallinfo2`, glibc 2.33 and newer); it counts what its per-thread caches keep as in use, so the harness
switches those off (`GLIBC_TUNABLES`). Where either cannot be asked, `tracemalloc` has to serve.
"""

import re

try:
    import ctypes  # with the agent's other modules, while no fork may happen (link.py)
except ImportError:  # a Python that was built without libffi
    ctypes = None

_IN_BLOCKS = re.compile(rb"bytes in allocated blocks\s*=\s*([\d,]+)")
_asked = None


def in_use():
    """Bytes in use, or None when the allocators cannot be asked: never, or not while memory is traced."""
    global _asked
    if _asked is None:
        try:
            _asked = _Allocators()
        except Exception:
            _asked = False
    return _asked.in_use() if _asked else None


class _Allocators:
    def __init__(self):
        class Mallinfo2(ctypes.Structure):
            # malloc.h of glibc
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

        # PyDLL keeps the interpreter's lock: nothing is allocated by Python code while the allocators are read.
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
