"""The sensor: light of a scene -> codes of one frame, with fixed pattern, shot, read and row noise.

The order is that of the light: what the frame sees, filter array, exposure, photons, electronics, codes, damage.
"""

import zlib
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt

import numpy as np
from jaxtyping import Float32, UInt16

from sidcurate.cfa import sites
from sidcurate.synthetic.bodies import Body
from sidcurate.synthetic.scenes import MARGIN_PX, blurred
from sidcurate.synthetic.shots import Light, Shot

NOMINAL_LONG_S = Fraction(10)
"""Exposure time at which a scene is well exposed at the body's own ISO and aperture."""

EXPOSED_SHARE = 0.85
"""Share of the range that the scene's radiance 1 fills in the nominal long frame."""

CORNER_LIGHT = 0.8
"""Share of the light in the center that a common lens lets reach the corners."""

_RESPONSE_SPREAD = 0.008
_OFFSET_SPREAD_DN14 = 0.8
_ZERO_DRIFT_DN14 = 0.03
_HOT_SHARE = 1e-4
_HOT_OFFSET_DN14 = 250.0
_HOT_ELECTRONS_PER_S = 60.0

Sites = Float32[np.ndarray, "h w *c"]


@dataclass(frozen=True)
class FixedPattern:
    """What all frames of one body share, site by site: response, offset, and dark current of hot pixels."""

    response: Float32[np.ndarray, "h w"]
    offset_dn: Float32[np.ndarray, "h w"]
    dark_e_per_s: Float32[np.ndarray, "h w"]


@dataclass(frozen=True)
class Exposure:
    """What is true of an exposed frame; the electrons are those of the light, before noise."""

    zero_dn: tuple[float, ...]
    median_electrons: float
    clipped_fraction: float


def generator(*labels: int | str) -> np.random.Generator:
    """Return a generator of its own for each sequence of labels."""
    return np.random.default_rng([label if isinstance(label, int) else zlib.crc32(label.encode()) for label in labels])


def fixed_pattern(body: Body, size: tuple[int, int], corner_light: float = CORNER_LIGHT) -> FixedPattern:
    """Return the fixed pattern of a body, seeded by its serial number: the same in every session.

    The response is vignetting times a pixel's own; one site in ten thousand is hot, in its offset and in its dark
    current, so that short and long frames both show it.

    Args:
        body: the camera.
        size: height and width of a frame in px.
        corner_light: share of the light in the center that reaches the corners.
    """
    rng = generator("fixed-pattern", body.slug, body.serial)
    height, width = size
    rows, columns = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
    vignetting = 1 - (1 - corner_light) * (rows**2 + columns**2) / 2
    response = vignetting * (1 + _RESPONSE_SPREAD * rng.standard_normal(size, np.float32))
    offset = _OFFSET_SPREAD_DN14 * rng.standard_normal(size, np.float32)
    hot = rng.random(size) < _HOT_SHARE
    offset[hot] += rng.exponential(_HOT_OFFSET_DN14, hot.sum())
    dark = np.zeros(size, np.float32)
    dark[hot] = rng.exponential(_HOT_ELECTRONS_PER_S, hot.sum())
    return FixedPattern(response.astype(np.float32), np.float32(body.dn_per_dn14) * offset, dark)


def seen(
    scene: Float32[np.ndarray, "H W 3"], other: Float32[np.ndarray, "H W 3"] | None, light: Light, corner: float
) -> Float32[np.ndarray, "h w 3"]:
    """Return what a frame sees: moved, blurred, with a part or all of it replaced, without the margin.

    Args:
        scene: the scene with its margin.
        other: another scene of the same size; needed where the light shows one.
        light: how the light of the frame departs.
        corner: place of the moved region, 0 at the top left to 1 at the bottom right.
    """
    picture = other if light.other_scene and other is not None else scene
    if light.moved_fraction and other is not None:
        picture = _with_moved_region(picture, other, light.moved_fraction, corner)
    if light.blur_px or any(light.shift_px):
        picture = blurred(picture, light.blur_px, light.shift_px)
    return picture[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]


def _with_moved_region(
    scene: Float32[np.ndarray, "H W 3"], other: Float32[np.ndarray, "H W 3"], fraction: float, corner: float
) -> Float32[np.ndarray, "H W 3"]:
    height, width = (size - 2 * MARGIN_PX for size in scene.shape[:2])
    tall, wide = round(height * fraction**0.5), round(width * fraction**0.5)
    top, left = (MARGIN_PX + round(corner * (size - part)) for size, part in ((height, tall), (width, wide)))
    region = (slice(top, top + tall), slice(left, left + wide))
    changed = scene.copy()
    changed[region] = other[region]
    return changed


def filtered(picture: Float32[np.ndarray, "h w 3"], cfa: str | None) -> Sites:
    """Return the light behind the filter array: a mosaic, or the picture itself where there is no array."""
    if cfa is None:
        return picture
    mosaic = np.empty(picture.shape[:2], np.float32)
    side = isqrt(len(cfa))
    for (row, column), letter in zip(np.ndindex(side, side), cfa, strict=True):
        mosaic[row::side, column::side] = picture[row::side, column::side, "RGB".index(letter)]
    return mosaic


def expose(
    picture: Float32[np.ndarray, "h w 3"], shot: Shot, pattern: FixedPattern, rng: np.random.Generator
) -> tuple[UInt16[np.ndarray, "h w *c"], Exposure]:
    """Return the codes of a shot, and what is true of it.

    Args:
        picture: radiance in camera RGB, white-balanced for the light of the scene.
        shot: what to expose; its tags give the filter array.
        pattern: fixed pattern of the shot's body.
        rng: source of the noise.
    """
    tinted = picture * np.asarray(shot.neutral, np.float32)
    electrons = filtered(tinted, shot.tags.cfa) * _over_colors(pattern.response, shot.tags.cfa)
    electrons *= _electrons_at_one(shot) * _clipping_gain(electrons, shot.light)
    ramp = 1 + shot.light.gradient * np.linspace(-0.5, 0.5, picture.shape[1], dtype=np.float32)
    electrons *= _over_colors(ramp[None], shot.tags.cfa)
    zero = _zero_dn(shot, rng)
    codes = _read_out(electrons, zero, shot, pattern, rng)
    clipped = float((codes >= shot.body.white_level).mean())
    return _cut(codes, shot.readout.rows_cut), Exposure(zero, float(np.median(electrons)), clipped)


def dn_per_radiance(shot: Shot) -> float:
    """Return the DN above zero that radiance 1 gives in a shot, before the gain that clips highlights."""
    return _electrons_at_one(shot) * shot.body.noise(shot.settings.iso).gain_dn_per_e


def _electrons_at_one(shot: Shot) -> float:
    """Return the electrons that radiance 1 gives in this shot."""
    body, settings = shot.body, shot.settings
    full = (body.white_level - body.black_level) / body.noise(body.iso).gain_dn_per_e
    opened = float(body.f_number / settings.f_number) ** 2
    return EXPOSED_SHARE * full * float(settings.exposure_time_s / NOMINAL_LONG_S) * opened * shot.light.gain


def _clipping_gain(radiance: Sites, light: Light) -> float:
    if not light.clipped_fraction:
        return 1.0
    return 1.0 / (EXPOSED_SHARE * float(np.quantile(radiance, 1 - light.clipped_fraction)))


def _zero_dn(shot: Shot, rng: np.random.Generator) -> tuple[float, ...]:
    """Return the true zero of a frame by CFA position (by color in a linear image): bias of the body, drift, fault."""
    drift = rng.normal(0, _ZERO_DRIFT_DN14, 4) + shot.readout.zero_dn14
    zero = shot.body.black_level + np.asarray(shot.body.zero_error_dn) + drift * shot.body.dn_per_dn14
    return tuple(zero.tolist() if shot.tags.cfa else zero[:3].tolist())


def _read_out(
    electrons: Sites, zero_dn: tuple[float, ...], shot: Shot, pattern: FixedPattern, rng: np.random.Generator
) -> UInt16[np.ndarray, "h w *c"]:
    noise, cfa = shot.body.noise(shot.settings.iso), shot.tags.cfa
    electrons = electrons + _over_colors(pattern.dark_e_per_s, cfa) * float(shot.settings.exposure_time_s)
    signal = rng.poisson(electrons).astype(np.float32) * np.float32(noise.gain_dn_per_e)
    signal += tukey_lambda(electrons.shape, noise.tukey_shape, noise.tukey_scale_dn, rng)
    rows = rng.normal(0, noise.row_scale_dn, (len(electrons), 1)).astype(np.float32)
    signal += _over_colors(pattern.offset_dn + rows, cfa)
    for view, zero in zip(_views(signal, cfa), zero_dn, strict=True):
        view += np.float32(zero)
    step = 1 << shot.readout.bits_dropped
    codes = np.rint(signal).clip(0, shot.body.white_level).astype(np.uint16)
    return np.asarray(codes // step * step, np.uint16)


def _cut(codes: UInt16[np.ndarray, "h w *c"], share: float) -> UInt16[np.ndarray, "H w *c"]:
    """Return the codes without a share of their rows: an even number of them, so that the phase of the rest stays."""
    return codes[: len(codes) - max(2, round(share * len(codes) / 2) * 2)] if share else codes


def tukey_lambda(
    shape: tuple[int, ...], tukey_shape: float, scale: float, rng: np.random.Generator
) -> Float32[np.ndarray, "..."]:
    """Return samples of the Tukey-lambda distribution, by its quantile function; the shape is not 0."""
    uniform = rng.random(shape, np.float32).clip(1e-7, 1 - 1e-7)
    return np.asarray((uniform**tukey_shape - (1 - uniform) ** tukey_shape) * (scale / tukey_shape), np.float32)


def _views(signal: Sites, cfa: str | None) -> tuple[Sites, ...]:
    return sites(signal) if cfa else tuple(signal[..., color] for color in range(3))


def _over_colors(field: Float32[np.ndarray, "h w"], cfa: str | None) -> Sites:
    return field if cfa else field[..., None]
