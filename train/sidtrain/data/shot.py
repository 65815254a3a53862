"""One raw without a partner: its planes and levels, which way up it is, and how dark. No torch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float32, Float64, UInt16
from scipy.optimize import brentq

from sidcurate import cfa
from sidcurate.errors import UnreadableRawError, UsageError
from sidcurate.isolation import Failure, crew, map_isolated
from sidcurate.raws import metadata, raw
from sidcurate.raws.metadata import Metadata
from sidcurate.raws.raw import RawFrame
from sidcurate.schemas import CfaKind
from sidtrain import normalization
from sidtrain.normalization import LevelsSource, Zero
from sidtrain.recipe import Recipe

# Middle gray of an exposure whose highlights just reach saturation, by ISO 12232: 18 % over the square root of 2.
MIDDLE: Final = 0.127
RATIOS: Final = (1.0, 300.0)


@dataclass(frozen=True)
class Shot:
    """A decoded raw, packed.

    Attributes:
        planes: mosaic in DN, cropped to the phase of the planes.
        black: black level by plane, in DN.
        white: white level by plane, in DN.
        levels: where black and white come from.
        orientation: Exif's, 1 to 8; 1 where the header says nothing.
    """

    planes: UInt16[np.ndarray, "c h w"]
    black: Float32[np.ndarray, "c"]
    white: Float32[np.ndarray, "c"]
    levels: LevelsSource
    orientation: int


@dataclass(frozen=True)
class Metered:
    """A ratio, and the mean of the amplified planes in shares of white, each site clipped to 0..1."""

    ratio: float
    mean: float


def read(path: Path, recipe: Recipe, zeros: Sequence[Zero] = ()) -> Shot:
    """Return a raw, decoded in a worker that may crash.

    Args:
        path: the raw.
        recipe: its network, packing and levels.
        zeros: what bodies are known for, where the recipe has levels measured from pairs.

    Raises:
        UnreadableRawError: no reader gets its pixels.
        UsageError: another color filter array than the network's, or levels that are unknown or leave no room.
    """
    with crew(1) as workers:
        ((_, outcome),) = map_isolated(_decode, [path], workers)
    if isinstance(outcome, Failure):
        raise UnreadableRawError(f"{path}: {outcome.reason}; copy it again from the card, or convert it to DNG")
    frame, header = outcome
    letters, mosaic = _mosaic(path, frame, recipe.cfa_kind)
    layout = cfa.layout(letters, recipe.packing)
    policy = recipe.levels_policy.without_partner(zeros)
    levels = normalization.alone(str(path), frame.sensor, policy, header.camera_model, header.iso)
    black, white = levels.by_plane(layout)
    return Shot(layout.pack(mosaic), black, white, levels.source, header.orientation or 1)


def metered(shot: Shot, ratio: float | None, span: tuple[float, float] = RATIOS) -> Metered:
    """Return a ratio with the mean that it makes; without one, that of a span whose mean is nearest to `MIDDLE`.

    Sites that reach white count as white, so that a lamp in the dark does not decide. The ratio found has three digits;
    at an end of the span it may leave another mean.
    """
    light, share = _light(shot)

    def mean(ratio: float) -> float:
        return float(np.minimum(ratio * light, 1) @ share)

    if ratio is None:
        ratio = _crossing(lambda ratio: mean(ratio) - MIDDLE, *span)
    return Metered(ratio, mean(ratio))


def _crossing(rising: Callable[[float], float], least: float, most: float) -> float:
    """Return where a rising function is zero, to three digits; the end that is nearer where it is so nowhere."""
    if rising(most) <= 0:
        return most
    if rising(least) >= 0:
        return least
    return float(f"{brentq(rising, least, most):.3g}")


def _decode(path: Path) -> tuple[RawFrame, Metadata]:
    """Return the frame and what its header says; runs in a worker."""
    frame = raw.read(path)
    return frame, metadata.with_second_opinion(metadata.read_header(path), frame.readings)


def _mosaic(path: Path, frame: RawFrame, cfa_kind: CfaKind) -> tuple[str, UInt16[np.ndarray, "h w"]]:
    sensor = frame.sensor
    if sensor.cfa_kind != cfa_kind or sensor.cfa is None or frame.mosaic is None:
        found = sensor.cfa_reason or sensor.cfa_kind
        raise UsageError(f"{path}: {found}; the checkpoint takes {cfa_kind} mosaics: give one that was trained for it")
    return sensor.cfa, frame.mosaic


def _light(shot: Shot) -> tuple[Float64[np.ndarray, "codes"], Float64[np.ndarray, "codes"]]:
    """Return the light of each code in use, in shares of white above black and not below 0, and its share of sites."""
    light, counts = [], []
    for plane, black, white in zip(shot.planes, shot.black, shot.white, strict=True):
        of_plane = np.bincount(plane.ravel())
        codes = np.flatnonzero(of_plane)
        light.append(np.maximum(codes - float(black), 0) / float(white - black))
        counts.append(of_plane[codes])
    return np.concatenate(light), np.concatenate(counts) / shot.planes.size
