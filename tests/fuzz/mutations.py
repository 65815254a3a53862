"""Damage a file as cards, cables and enemies do: seeded, so that a number gives the same bytes every time."""

import struct
from collections.abc import Callable

import numpy as np

Mutation = Callable[[bytearray, np.random.Generator], None]

_HEAD = 4096
_EXTREMES = (0, 1, 2, 7, 8, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


def mutate(content: bytes, seed: tuple[int, ...]) -> bytes:
    """Return a copy with one to three mutations."""
    rng = np.random.default_rng(seed)
    damaged = bytearray(content)
    for number in rng.integers(0, len(MUTATIONS), rng.integers(1, 4)):
        if damaged:
            MUTATIONS[number](damaged, rng)
    return bytes(damaged)


def _flip_bits(content: bytearray, rng: np.random.Generator) -> None:
    reach = len(content) if rng.random() < 0.3 else min(len(content), _HEAD)
    for at in rng.integers(0, reach, rng.integers(1, 33)):
        content[at] ^= 1 << int(rng.integers(8))


def _truncate(content: bytearray, rng: np.random.Generator) -> None:
    reach = len(content) if rng.random() < 0.5 else min(len(content), _HEAD)
    del content[rng.integers(0, reach) :]


def _swap_chunks(content: bytearray, rng: np.random.Generator) -> None:
    size = int(min(rng.integers(1, 2048), len(content) // 2))
    first, second = sorted(int(at) for at in rng.integers(0, len(content) - size + 1, 2))
    if first + size <= second:
        one, two = content[first : first + size], content[second : second + size]
        content[first : first + size], content[second : second + size] = two, one


def _overwrite_a_number(content: bytearray, rng: np.random.Generator) -> None:
    width = int(rng.choice((2, 4, 8)))
    if len(content) < width:
        return
    at = int(rng.integers(0, min(len(content), _HEAD) - width + 1)) // 2 * 2
    value = int(rng.choice(_EXTREMES)) % (1 << 8 * width)
    content[at : at + width] = value.to_bytes(width, "little" if rng.random() < 0.7 else "big")


def _edit_an_entry(content: bytearray, rng: np.random.Generator) -> None:
    """Change type, count or value of one entry of a TIFF directory."""
    if entries := _entries(content):
        at = int(rng.choice(entries))
        field, size = ((2, 2), (4, 4), (8, 4))[int(rng.integers(3))]
        value = rng.choice(_EXTREMES) if rng.random() < 0.7 else rng.integers(0, max(len(content), 1))
        content[at + field : at + field + size] = (int(value) % (1 << 8 * size)).to_bytes(size, _order(content))


def _make_a_loop(content: bytearray, rng: np.random.Generator) -> None:
    """Let a directory follow itself, or hold itself as its Exif directory or its sub-directory."""
    entries = _entries(content)
    if not entries:
        return
    start, order = entries[0] - 2, _order(content)
    if rng.random() < 0.5:
        after = entries[-1] + 12
        content[after : after + 4] = start.to_bytes(4, order)
        return
    at = int(rng.choice(entries))
    row = (int(rng.choice((330, 34665, 34853, 40965))), 4, int(rng.choice((1, 2, 1000))), start)
    content[at : at + 12] = struct.pack("<HHII" if order == "little" else ">HHII", *row)


def _order(content: bytearray) -> str:
    return "big" if content[:2] == b"MM" else "little"


def _entries(content: bytearray) -> list[int]:
    """Return where the entries of the first directory stand; of the first TIFF block where there is no other."""
    base = max(content.find(b"II*\0"), 0) if content[:2] not in (b"II", b"MM") else 0
    first = int.from_bytes(content[base + 4 : base + 8], _order(content)) + base
    count = int.from_bytes(content[first : first + 2], _order(content))
    return [at for at in range(first + 2, first + 2 + 12 * min(count, 200), 12) if at + 16 <= len(content)]


MUTATIONS: tuple[Mutation, ...] = (
    _flip_bits,
    _truncate,
    _swap_chunks,
    _overwrite_a_number,
    _edit_an_entry,
    _edit_an_entry,
    _make_a_loop,
)
