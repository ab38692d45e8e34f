"""Memory that no garbage collector knows: what a codec in C would work in."""

from __future__ import annotations

import ctypes

_libc = ctypes.CDLL(None)
_libc.malloc.restype = ctypes.c_void_p
_libc.malloc.argtypes = [ctypes.c_size_t]
_libc.free.argtypes = [ctypes.c_void_p]


class NativeBuffer:
    """`size` bytes from the C library, until they are freed. Raises MemoryError."""

    def __init__(self, size: int) -> None:
        self._address = _libc.malloc(size)
        if not self._address:
            raise MemoryError(f"{size} bytes")
        ctypes.memset(self._address, 0, size)

    def free(self) -> None:
        """Give the memory back."""
        if self._address:
            _libc.free(self._address)
            self._address = None
