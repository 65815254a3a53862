"""Damage to codes and files, of the families that cards, cables and interrupted copies leave behind."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt16

from sidcurate.synthetic.shots import Damage, DamageKind

Codes = UInt16[np.ndarray, "h w *c"]
_HEADER_BYTES_KEPT = 100


def damaged(codes: Codes, damage: Damage | None, rng: np.random.Generator) -> Codes:
    """Return the codes with their damage; damage to the file leaves them as they are."""
    harm = _TO_CODES.get(damage.kind) if damage else None
    if damage is None or harm is None:
        return codes
    spoiled = codes.copy()
    harm(spoiled, damage.share, rng)
    return spoiled


def damage_file(path: Path, damage: Damage | None, pixel_bytes: int) -> None:
    """Cut the file short where the damage is a truncation.

    Args:
        path: the file; its pixels stand at the end.
        damage: what to do.
        pixel_bytes: how many bytes the pixels take.
    """
    if damage and damage.kind == "truncated-header":
        _truncate(path, _HEADER_BYTES_KEPT)
    elif damage and damage.kind == "truncated-pixels":
        _truncate(path, path.stat().st_size - round(damage.share * pixel_bytes))


def _truncate(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)


def _last_rows(codes: Codes, share: float) -> Codes:
    return codes[len(codes) - round(share * len(codes)) :]


def _run(codes: Codes, share: float, rng: np.random.Generator) -> Shaped[np.ndarray, " n"]:
    length = round(share * codes.size)
    start = int(rng.integers(0, codes.size - length, endpoint=True))
    return codes.reshape(-1)[start : start + length]


def _zero_tail(codes: Codes, share: float, _: np.random.Generator) -> None:
    _last_rows(codes, share)[:] = 0


def _zero_run(codes: Codes, share: float, rng: np.random.Generator) -> None:
    _run(codes, share, rng)[:] = 0


def _repeated_rows(codes: Codes, share: float, _: np.random.Generator) -> None:
    rows = _last_rows(codes, share)
    rows[:] = rows[np.arange(len(rows)) % 2]


def _constant_rows(codes: Codes, share: float, _: np.random.Generator) -> None:
    _last_rows(codes, share)[:] = np.median(codes).astype(np.uint16)


def _random_bytes(codes: Codes, share: float, rng: np.random.Generator) -> None:
    run = _run(codes, share, rng)
    run[:] = rng.integers(0, 1 << 16, len(run), np.uint16)


_TO_CODES: dict[DamageKind, Callable[[Codes, float, np.random.Generator], None]] = {
    "zero-tail": _zero_tail,
    "zero-run": _zero_run,
    "repeated-rows": _repeated_rows,
    "constant-rows": _constant_rows,
    "random-bytes": _random_bytes,
}
