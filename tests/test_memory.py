"""Workers keep the memory that they free; where a raw has no pixels, nothing older shows through."""

import ctypes
import resource

import imagecodecs
import numpy as np
import pytest

from sidcurate import memory
from sidcurate.isolation import crew, map_isolated
from sidcurate.raws import raw
from sidcurate.synthetic.dng import DngTags, Stored, write_stored

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.malloc.restype = ctypes.c_void_p
LIBC.malloc.argtypes = [ctypes.c_size_t]
LIBC.free.argtypes = [ctypes.c_void_p]

pytestmark = pytest.mark.skipif(not hasattr(LIBC, "mallopt"), reason="only glibc's malloc can be told what to do")


def soil(size: int) -> None:
    """Free memory that is full of ones, as an older picture leaves it."""
    blocks = [LIBC.malloc(size) for _ in range(8)]
    for block in blocks:
        ctypes.memset(block, 0xFF, size)
        LIBC.free(block)


def test_rows_that_a_stream_does_not_hold_are_zero_and_no_older_picture(tmp_path):
    written = np.random.default_rng(0).integers(500, 16000, (128, 128), dtype=np.uint16)
    stream = imagecodecs.ljpeg_encode(written[:64].reshape(32, 256), bitspersample=14)
    write_stored(tmp_path / "short.dng", written.shape, Stored([stream], compression=7), DngTags())
    soil(2 * 128 * (128 + 8))
    read = raw.read(tmp_path / "short.dng").mosaic
    np.testing.assert_array_equal(read[:64], written[:64])
    assert not read[64:].any()


def test_memory_is_cleared_within_the_block_only():
    size = 1 << 16

    def sample() -> int:
        soil(size)
        block = LIBC.malloc(size)
        found = ctypes.string_at(block, size).count(0xFF)
        LIBC.free(block)
        return found

    assert sample() > size // 2
    with memory.cleared():
        assert sample() == 0
    assert sample() > size // 2


def page_faults(size: int) -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(size, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_a_worker_pays_for_large_memory_once():
    with crew(1) as workers:
        first, second, third = (faults for _, faults in map_isolated(page_faults, [64 << 20] * 3, workers))
    assert first > 50
    assert max(second, third) < first / 5
