"""The device that a training runs on: which one, how much memory it took, and what to lower when that is not enough."""

import re
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from sidcurate.errors import MissingResourceError
from sidtrain.recipe import DeviceType, Recipe

_STATUS, _PEAK = Path("/proc/self/status"), re.compile(r"^VmHWM:\s*(\d+) kB$", re.MULTILINE)
# What torch says when it has no memory left, where it does not raise a class of its own.
_NO_MEMORY = re.compile(r"can't allocate memory|not enough memory|out of memory", re.IGNORECASE)


def pick(wanted: DeviceType, place: int = 0) -> torch.device:
    """Return the device of a process: the one asked for, or with "auto" a GPU where there is one.

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
    torch.cuda.set_device(place)
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
def memory_in_words(recipe: Recipe) -> Iterator[None]:
    """Turn running out of memory into what to lower.

    Raises:
        MissingResourceError: in place of the allocator's own error, on any device.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _NO_MEMORY.search(str(error)):
            raise
        raise MissingResourceError(
            f"out of memory at patch {recipe.patch}, batch {recipe.batch}, width {recipe.width} "
            f"({str(error).splitlines()[0] if str(error) else type(error).__name__}): lower `patch` first, then "
            "`batch`, then `width` in the recipe, or share the batch with --launch"
        ) from error
