"""The device that a training runs on: which one, how much memory it took, and what to lower when that is not enough."""

import re
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import torch

from sidcurate import memory
from sidcurate.errors import MissingResourceError
from sidtrain.recipe import DeviceType, Recipe

_STATUS, _PEAK = Path("/proc/self/status"), re.compile(r"^VmHWM:\s*(\d+) kB$", re.MULTILINE)

END_OTHERS: Final = "end other programs, or give --device-type cpu"


def pick(wanted: DeviceType, place: int = 0) -> torch.device:
    """Return the device of a process: the one asked for, or with "auto" a GPU where there is one.

    Nothing is put on it yet. From then on single precision on CUDA is what its name says: by torch's default a
    convolution there rounds what goes in to the 10 bits of TF32.

    Args:
        wanted: the recipe's `device_type`.
        place: number of the process on this machine; each has a CUDA device of its own.

    Raises:
        MissingResourceError: this machine has no such device.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    kind = next(name for name, present in there.items() if present) if wanted == "auto" else wanted
    if not there[kind]:
        raise MissingResourceError(
            f"there is no {kind} device for torch here: give --device-type auto or cpu, or set it as the recipe's "
            "device_type"
        )
    if kind != "cuda":
        return torch.device(kind)
    if place >= torch.cuda.device_count():
        raise MissingResourceError(
            f"process {place + 1} of this machine has no CUDA device of its own, there are "
            f"{torch.cuda.device_count()}: start at most so many with --launch"
        )
    torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda", place)


def has_bf16_units(device: torch.device) -> bool:
    """Say whether the device multiplies bfloat16 in hardware; without, bf16 is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    known = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return any(known.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def peak_memory_bytes(device: torch.device) -> int:
    """Return the most memory that the training has held: on CUDA the device's, elsewhere the process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # Linux hands ru_maxrss down to the processes that one starts; VmHWM is of this one alone.
    own = _PEAK.search(_STATUS.read_text(encoding="utf-8")) if _STATUS.exists() else None
    if own:
        return 1024 * int(own[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


@contextmanager
def faults_in_words(cure: str) -> Iterator[None]:
    """Turn running out of memory, and a GPU that fails, into what to do.

    Args:
        cure: what to do where memory is short.

    Raises:
        MissingResourceError: in place of the allocator's or the driver's own error.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        if memory.ran_out(error):
            raise MissingResourceError(f"out of memory ({reason}): {cure}") from error
        if isinstance(error, torch.AcceleratorError):
            raise MissingResourceError(
                f"the GPU failed ({reason}): run again; where that never helps, install a torch that is built for this "
                "GPU and its driver, or give --device-type cpu"
            ) from error
        raise


def smaller(recipe: Recipe) -> str:
    """Return what to lower where a training does not fit in memory."""
    return (
        f"lower `patch` ({recipe.patch}) first, then `batch` ({recipe.batch}), then `width` ({recipe.width}) in the "
        "recipe, or share the batch with --launch"
    )
