"""The memory that is told is that of the training itself."""

import json
import subprocess
import sys

import pytest
import torch

from sidcurate.errors import MissingResourceError
from sidtrain.recipe import Recipe
from sidtrain.training import devices

CPU = torch.device("cpu")


PEAKS = """
import json, numpy, torch
from sidtrain.training.devices import peak_memory_bytes

def peak():
    return peak_memory_bytes(torch.device("cpu"))

before = peak()
held = numpy.ones(before // 8 + 30_000_000)  # More than was ever held, so that the peak must rise.
with_it = peak()
del held
print(json.dumps([before, with_it, peak()]))
"""


def peaks(*program: str) -> list[int]:
    """Return the peaks that a process of its own tells: at first, with an array in memory, and without it."""
    done = subprocess.run([sys.executable, "-c", *program], capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout))


@pytest.fixture(scope="module")
def alone() -> list[int]:
    return peaks(PEAKS)


def test_the_peak_rises_with_what_is_held_and_stays(alone: list[int]) -> None:
    before, with_it, without = alone
    assert with_it - before > 100_000_000
    assert without > with_it - 10_000_000  # Linux counts pages per thread, roughly.


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux hands the peak down, and only it has /proc")
def test_the_peak_is_not_that_of_the_process_that_started_it(alone: list[int]) -> None:
    """A parent of a gigabyte starts a training; what the child tells is its own."""
    start = "import os, sys; held = b'x' * 10**9; os.execv(sys.executable, [sys.executable, '-c', sys.argv[1]])"
    assert peaks(start, PEAKS)[0] < alone[0] + 100_000_000


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a GPU, as far as torch can be asked without touching it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)


@pytest.mark.usefixtures("one_gpu")
def test_single_precision_on_a_gpu_is_single_and_to_pick_it_takes_none_of_its_memory() -> None:
    """Who launches others only asks whether there are enough: a CUDA device that is set holds memory to the end."""
    assert devices.pick("auto") == torch.device("cuda", 0)
    assert torch.backends.cudnn.allow_tf32 is False
    assert not torch.cuda.is_initialized()


@pytest.mark.usefixtures("one_gpu")
def test_a_process_more_than_gpus_is_told_how_many_there_are() -> None:
    with pytest.raises(MissingResourceError, match=r"process 2 .*there are 1: start at most so many with --launch"):
        devices.pick("cuda", 1)


def test_a_gpu_that_this_torch_does_not_know_is_said_in_words() -> None:
    fault = torch.AcceleratorError("CUDA error: no kernel image is available for execution on the device\nCompile with")
    with (
        pytest.raises(MissingResourceError, match=r"the GPU failed \(CUDA error: no .* device\): run again; .*cpu$"),
        devices.faults_in_words("lower it"),
    ):
        raise fault


def test_auto_is_a_gpu_where_there_is_one_and_never_by_another_name() -> None:
    there = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert devices.pick("auto").type == there
    assert devices.pick("cpu") == CPU
    for kind in ("cuda", "mps"):
        if kind != there:
            with pytest.raises(
                MissingResourceError, match=rf"no {kind} device for torch here: give --device-type auto or cpu"
            ):
                devices.pick(kind)


@pytest.mark.parametrize(
    "fault",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory: 4 bytes"),
        torch.AcceleratorError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_out_of_memory_says_what_to_lower(fault: Exception) -> None:
    said = r"out of memory \(.*lower `patch` \(512\) first, then `batch` \(1\), then `width` \(32\)"
    with (
        pytest.raises(MissingResourceError, match=said),
        devices.faults_in_words(devices.smaller(Recipe())),
    ):
        raise fault


def test_other_faults_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="size mismatch"), devices.faults_in_words(devices.smaller(Recipe())):
        raise RuntimeError("size mismatch")
