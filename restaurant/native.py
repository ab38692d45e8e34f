"""Memory that no garbage collector knows, as a codec in C would allocate it."""

from __future__ import annotations

import ctypes

_libc = ctypes.CDLL(None)
# A C function that allocates memory itself, as a codec does, and leaves it to the caller to free it.
_libc.strdup.restype = ctypes.c_void_p
_libc.strdup.argtypes = [ctypes.c_char_p]
_libc.free.argtypes = [ctypes.c_void_p]


class NativeBuffer:
    """`size` bytes from the C library, until they are freed. Raises MemoryError."""

    def __init__(self, size: int) -> None:
        try:
            self._address = _libc.strdup(b"\1" * (size - 1))
        except (MemoryError, OverflowError):
            self._address = None
        if not self._address:
            raise MemoryError(f"{size} bytes")

    def free(self) -> None:
        """Give the memory back."""
        if self._address:
            _libc.free(self._address)
            self._address = None
