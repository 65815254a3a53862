"""The levels policy of a recipe: which black becomes 0 and which white 1. No torch."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from jaxtyping import Float32
from pydantic import BaseModel, ConfigDict

from sidcurate.cfa import Layout
from sidcurate.errors import UsageError
from sidcurate.raws.sensor import Sensor
from sidcurate.schemas import Capture, Floats, Pair, described

LevelsChoice = Literal["declared", "measured", "override"]
LevelsSource = Literal["declared", "measured", "device", "override"]
PlaneLevels = tuple[Float32[np.ndarray, "p"], Float32[np.ndarray, "p"]]  # black and white


class Zero(BaseModel):
    """What pairs of a body have told of its zero: what may be known of a frame that has no partner."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    camera_model: str = described("Model, as the header of the frames says.")
    cfa: str = described("Letters of the CFA at the visible origin, row by row.")
    iso: int | None = described("ISO setting; null: over all settings.")
    zero_error_dn: Floats = described("Median zero less the declared black, by CFA position.", "DN")
    pairs: int = described("Number of the pairs.", ge=1)


@dataclass(frozen=True)
class LevelsPolicy:
    """Where the levels come from.

    Attributes:
        source: as the recipe says.
        black: of 'override'; None where the declared one stays.
        bits: of 'override'; None where the declared white stays.
        zeros: of 'measured', what the body is known for; None: each pair tells its own zero.
    """

    source: LevelsChoice = "declared"
    black: tuple[float, ...] | None = None
    bits: int | None = None
    zeros: tuple[Zero, ...] | None = None

    @property
    def words(self) -> str:
        """The source, with the numbers of an override."""
        numbers = {"black": self.black, "bits": self.bits}
        return " ".join([self.source, *(f"{name} {value}" for name, value in numbers.items() if value is not None)])

    def without_partner(self, zeros: Iterable[Zero]) -> "LevelsPolicy":
        """Return the policy for short frames that stand alone, by what their body is known for."""
        return replace(self, zeros=tuple(zeros)) if self.source == "measured" else self


DECLARED: Final = LevelsPolicy()


@dataclass(frozen=True)
class Levels:
    """Black and white of a short frame by CFA position, in DN, and where they come from."""

    black: tuple[float, ...]
    white: tuple[float, ...]
    source: LevelsSource

    def by_plane(self, layout: Layout) -> PlaneLevels:
        """Return black and white in the order of the planes."""
        black, white = (np.asarray(layout.by_plane(values), np.float32) for values in (self.black, self.white))
        return black, white


def levels(pair: Pair, short: Capture, policy: LevelsPolicy) -> Levels:
    """Return the levels that normalize the short frame of a pair.

    'measured' adds to the declared black what the pair says of its zero, by CFA position, and keeps the declared black
    of a pair that does not tell; white stays the declared one. Where the policy says what the body is known for, the
    pair is not asked.

    Raises:
        UsageError: a level is unknown, has another count of positions than the frame, or black is not below white.
    """
    found = alone(short.path, short, policy, short.camera_model, short.iso)
    if policy.source != "measured" or policy.zeros is not None:
        return found
    return _moved(short.path, found, pair.zero_error_dn, "measured")


def of_target(long: Capture, policy: LevelsPolicy) -> Levels:
    """Return the levels of a long frame whose planes are a target: those that it declares, or the recipe's.

    What 'measured' knows of a zero is not applied: it is of short frames, and one target is to judge all networks.

    Raises:
        UsageError: as `levels`.
    """
    return alone(long.path, long, replace(policy, zeros=None))


def alone(
    name: str,
    frame: Capture | Sensor,
    policy: LevelsPolicy,
    camera_model: str | None = None,
    iso: int | None = None,
) -> Levels:
    """Return the levels that normalize a frame without a partner.

    Of 'measured' it is the declared black plus the zero error that the body is known for at this ISO, over all where
    it is known for none at this; the declared black of a body that is not known.

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
    return _moved(name, found, _known_zero(policy, camera_model, frame.cfa, iso), "device")


def median_zeros(pairs: Iterable[Pair], captures: Mapping[str, Capture]) -> tuple[Zero, ...]:
    """Return what pairs tell of the zero of their bodies: the medians by ISO setting, and over all settings.

    Args:
        pairs: pairs of a manifest; those that do not tell their zero, and frames of an unknown body, do not count.
        captures: captures of that manifest by path.
    """
    told: dict[tuple[str, str, int | None], list[Floats]] = defaultdict(list)
    for pair in pairs:
        short = captures[pair.short_path]
        if pair.zero_error_dn and short.camera_model and short.cfa:
            for iso in {short.iso, None}:
                told[short.camera_model, short.cfa, iso].append(pair.zero_error_dn)
    return tuple(
        Zero(
            camera_model=model,
            cfa=letters,
            iso=iso,
            zero_error_dn=tuple(np.median(zeros, axis=0).tolist()),
            pairs=len(zeros),
        )
        for (model, letters, iso), zeros in sorted(told.items(), key=lambda item: str(item[0]))
    )


def _known_zero(policy: LevelsPolicy, camera_model: str | None, cfa: str | None, iso: int | None) -> Floats | None:
    """Return the zero error that a body is known for at an ISO setting, else over all; None of an unknown one."""
    of_body = (zero for zero in policy.zeros or () if (zero.camera_model, zero.cfa) == (camera_model, cfa))
    by_iso = {zero.iso: zero.zero_error_dn for zero in of_body}
    return by_iso.get(iso, by_iso.get(None))


def _moved(name: str, declared: Levels, zero: tuple[float, ...] | None, source: LevelsSource) -> Levels:
    """Return levels whose black is moved by a zero error; as they are where there is none for their positions."""
    if zero is None or len(zero) != len(declared.black):
        return declared
    black = tuple(level + error for level, error in zip(declared.black, zero, strict=True))
    moved = Levels(black, declared.white, source)
    _require_room(name, moved)
    return moved


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
