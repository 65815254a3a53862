"""The memory that is told is that of the training itself."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from sidtrain.training import devices

CPU = torch.device("cpu")


def test_the_peak_rises_with_what_is_held_and_stays() -> None:
    before = devices.peak_memory_bytes(CPU)
    held = np.ones(before // 8 + 30_000_000)  # More than was ever held, so that the peak must rise.
    after = devices.peak_memory_bytes(CPU)
    assert after - before > 100_000_000
    del held
    assert devices.peak_memory_bytes(CPU) > after - 10_000_000  # Linux counts pages per thread, roughly.


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux hands the peak down, and only it has /proc")
def test_the_peak_is_not_that_of_the_process_that_started_it() -> None:
    """A parent of a gigabyte starts a training; what the child tells is its own."""
    told = "import torch; from sidtrain.training import devices; print(devices.peak_memory_bytes(torch.device('cpu')))"
    start = "import os, sys; held = b'x' * 10**9; os.execv(sys.executable, [sys.executable, '-c', sys.argv[1]])"
    alone, started = (
        int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        for command in ([sys.executable, "-c", told], [sys.executable, "-c", start, told])
    )
    assert started < alone + 100_000_000
