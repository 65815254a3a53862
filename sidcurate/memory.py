"""Memory: what malloc does with it, where the C library is glibc, and whether an error says that there is none left."""

import ctypes
import re
from collections.abc import Iterator
from contextlib import contextmanager

# Of <malloc.h>.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_PERTURB = -1, -4, -6
_LARGEST_INT = (1 << 31) - 1
# What torch says on any device, mostly in no class of its own.
_NONE_LEFT = re.compile(r"can't allocate memory|not enough memory|out of memory|STATUS_ALLOC_FAILED", re.IGNORECASE)


def keep_freed() -> None:
    """Let this process keep the memory that it frees.

    A worker needs the same two or three large blocks for each raw. Taken from the system anew, each costs more in page
    faults than its pixels cost to measure. A worker holds on to as much as its largest raw needed.
    """
    _set(_M_MMAP_MAX, 0)
    _set(_M_TRIM_THRESHOLD, _LARGEST_INT)


@contextmanager
def cleared() -> Iterator[None]:
    """Let malloc give zeros within the block: where a raw has no pixels, LibRaw returns what its memory held before."""
    _set(_M_PERTURB, 0xFF)  # New memory is filled with the complement of this byte.
    try:
        yield
    finally:
        _set(_M_PERTURB, 0)


def ran_out(error: Exception) -> bool:
    """Return whether an error says that memory ran out: the computer's or, with torch, a GPU's."""
    of_torch = isinstance(error, RuntimeError) and _NONE_LEFT.search(str(error))
    return isinstance(error, MemoryError) or bool(of_torch)


def _set(parameter: int, value: int) -> None:
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(parameter, value)
