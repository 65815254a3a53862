"""The levels policy of a recipe: which black becomes 0 and which white 1. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from sidcurate.errors import UsageError
from sidcurate.schemas import Capture, Pair

LevelsSource = Literal["declared", "measured", "override"]


@dataclass(frozen=True)
class LevelsPolicy:
    """Where the levels come from; black and bits are those of 'override', None where the declared ones stay."""

    source: LevelsSource = "declared"
    black: tuple[float, ...] | None = None
    bits: int | None = None


DECLARED: Final = LevelsPolicy()


@dataclass(frozen=True)
class Levels:
    """Black and white of a short frame by CFA position, in DN, and where they come from."""

    black: tuple[float, ...]
    white: tuple[float, ...]
    source: LevelsSource


def levels(pair: Pair, short: Capture, policy: LevelsPolicy) -> Levels:
    """Return the levels that normalize the short frame of a pair.

    'measured' adds to the declared black what the pair says of its zero, by CFA position, and keeps the declared black
    of a pair that does not tell; white stays the declared one.

    Raises:
        UsageError: a level is unknown, has another count of positions than the frame, or black is not below white.
    """
    black, white, source = short.black_level, short.white_level, policy.source
    if source == "override":
        black = black if policy.black is None else _by_position(policy.black, short)
        white = white if policy.bits is None else (2.0**policy.bits - 1,)
    if black is None or white is None:
        raise UsageError(f"{short.path}: its black or white level is unknown; CAP121 must not be ignored for training")
    if source == "measured":
        black, source = _measured(black, pair)
    found = Levels(*_alike(black, white), source)
    _require_room(short, found)
    return found


def _measured(black: tuple[float, ...], pair: Pair) -> tuple[tuple[float, ...], LevelsSource]:
    zero = pair.zero_error_dn
    if zero is None or len(zero) != len(black):
        return black, "declared"
    return tuple(level + error for level, error in zip(black, zero, strict=True)), "measured"


def _by_position(black: tuple[float, ...], short: Capture) -> tuple[float, ...]:
    positions = 4 if short.cfa_kind == "bayer" else 1
    if len(black) not in (1, positions):
        raise UsageError(
            f"black_override has {len(black)} values, {short.path} has {positions} CFA positions; give one value, or "
            "one for each"
        )
    return black


def _alike(black: tuple[float, ...], white: tuple[float, ...]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return both with as many values as the longer one; one value is that of all positions."""
    count = max(len(black), len(white))
    return black * (count // len(black)), white * (count // len(white))


def _require_room(short: Capture, found: Levels) -> None:
    if any(black >= white for black, white in zip(found.black, found.white, strict=True)):
        raise UsageError(
            f"{short.path}: its {found.source} black {_listed(found.black)} is not below white {_listed(found.white)}; "
            "correct black_override and bits_override in the recipe, or see CAP121 and PAIR212"
        )


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
