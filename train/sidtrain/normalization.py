"""The levels policy of a recipe: which black becomes 0 and which white 1. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from sidcurate.errors import UsageError
from sidcurate.schemas import Capture, Pair
from sidcurate.sensor import Sensor

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
    found = alone(short.path, short, policy)
    if policy.source != "measured":
        return found
    measured = Levels(*_measured(found, pair))
    _require_room(short.path, measured)
    return measured


def alone(name: str, frame: Capture | Sensor, policy: LevelsPolicy) -> Levels:
    """Return the levels that normalize a frame without a partner; of 'measured' those that are declared.

    Raises:
        UsageError: as `levels`.
    """
    black, white = frame.black_level, frame.white_level
    if policy.source == "override":
        black = black if policy.black is None else _by_position(name, policy.black, frame)
        white = white if policy.bits is None else (2.0**policy.bits - 1,)
    if black is None or white is None:
        raise UsageError(
            f"{name}: its black or white level is unknown (CAP121); leave it out, or train with levels = 'override' in "
            "the recipe"
        )
    found = Levels(*_alike(black, white), "override" if policy.source == "override" else "declared")
    _require_room(name, found)
    return found


def _measured(declared: Levels, pair: Pair) -> tuple[tuple[float, ...], tuple[float, ...], LevelsSource]:
    zero = pair.zero_error_dn
    if zero is None or len(zero) != len(declared.black):
        return declared.black, declared.white, "declared"
    return tuple(level + error for level, error in zip(declared.black, zero, strict=True)), declared.white, "measured"


def _by_position(name: str, black: tuple[float, ...], frame: Capture | Sensor) -> tuple[float, ...]:
    positions = 4 if frame.cfa_kind == "bayer" else 1
    if len(black) not in (1, positions):
        raise UsageError(
            f"black_override has {len(black)} values, {name} has {positions} CFA positions; give one value, or "
            "one for each"
        )
    return black


def _alike(black: tuple[float, ...], white: tuple[float, ...]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return both with as many values as the longer one; one value is that of all positions."""
    count = max(len(black), len(white))
    return black * (count // len(black)), white * (count // len(white))


def _require_room(name: str, found: Levels) -> None:
    if any(black >= white for black, white in zip(found.black, found.white, strict=True)):
        raise UsageError(
            f"{name}: its {found.source} black {_listed(found.black)} is not below white {_listed(found.white)}; "
            "correct black_override and bits_override in the recipe, or see CAP121 and PAIR212"
        )


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
