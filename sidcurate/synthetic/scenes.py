"""Seeded dead-leaves scenes at night: occluding shapes of power-law sizes, textured, lit unevenly by a few lamps.

The dead-leaves model (Matheron 1968; Lee, Mumford, Huang 2001) has the scale invariance and the edges of natural
pictures. Every leaf carries texture, so that no large area is bare.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float, Float32, Int32

MARGIN_PX = 48
"""Scene beyond each edge of the frame, so that a frame can be moved without running out of scene."""

_SMALLEST_PX = 5.0
_LARGEST_SHARE = 0.2
_COVERAGE = 6.0
_LENS_BLUR_PX = 0.7
_PIXELS_PER_LIGHT = 60_000
# Opponent axes of log color, and the spread along each: natural pictures vary most in luminance, then from yellow to
# blue, least from red to green (Ruderman, Cronin, Chiao 1998). Rendering widens the colors by the camera matrix.
_LOG_COLOR_AXES = np.array([[1, 1, 1], [0.45, 0.45, -0.9], [0.7, -0.7, 0]], np.float32)
_LOG_COLOR_SPREAD = np.array([0.75, 0.22, 0.1], np.float32)

_TILES_ACROSS = 24
_UNIQUE_SHARE = 0.1
_LIT_SHARE, _UNLIT = 0.05, 0.002
_SKY_SHARE, _SKY = 0.6, 4.0

Scenery: TypeAlias = Literal["leaves", "fence", "black", "sky", "vignetted"]
"""What a session shows: leaves; one tile of them again and again, like a fence; leaves in the dark but for one lit
spot; leaves below a sky that clips; leaves through a lens that is dark in its corners."""

RGB = Float32[np.ndarray, "h w 3"]
Field = Float32[np.ndarray, "h w"]


@dataclass(frozen=True)
class _Leaves:
    """Geometry of the leaves, in the order in which they fall."""

    y: Float[np.ndarray, " n"]
    x: Float[np.ndarray, " n"]
    radius: Float[np.ndarray, " n"]
    angle: Float[np.ndarray, " n"]
    aspect: Float[np.ndarray, " n"]


def night_scene(scenery: Scenery, height: int, width: int, rng: np.random.Generator) -> Float32[np.ndarray, "H W 3"]:
    """Return the linear radiance of a scene: the frame and `MARGIN_PX` around it; see `dead_leaves`."""
    leaves = dead_leaves(height, width, rng)
    if scenery == "fence":
        return _repeated(leaves)
    if scenery == "black":
        leaves *= _lit_spot((leaves.shape[0], leaves.shape[1]), rng)[..., None]
    if scenery == "sky":
        leaves[: MARGIN_PX + round(_SKY_SHARE * height)] = _SKY
    return leaves


def dead_leaves(height: int, width: int, rng: np.random.Generator) -> Float32[np.ndarray, "H W 3"]:
    """Return the linear radiance of a scene: the frame and `MARGIN_PX` around it.

    White-balanced camera RGB; the 98th percentile of green is 1, small lights are several times brighter.
    """
    shape = (height + 2 * MARGIN_PX, width + 2 * MARGIN_PX)
    leaves = _falling_leaves(shape, rng)
    ids = _leaf_map(shape, leaves)
    paint = np.exp(rng.normal(size=(len(leaves.x) + 1, 3)).astype(np.float32) * _LOG_COLOR_SPREAD @ _LOG_COLOR_AXES)
    paint[0] = 0.5
    radiance = paint[ids] * (_texture(ids, len(leaves.x) + 1, rng) * _lamplight(shape, rng))[..., None]
    _add_lights(radiance, rng)
    radiance = blurred(radiance, _LENS_BLUR_PX)
    return np.asarray(radiance / np.percentile(radiance[..., 1], 98), np.float32)


def blurred(image: RGB, sigma_px: float, shift_px: tuple[float, float] = (0.0, 0.0)) -> RGB:
    """Return an image after a Gaussian blur, moved by (down, right) pixels: exact in Fourier space, edges wrap."""
    height, width = image.shape[:2]
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    transfer = np.exp(-2 * (np.pi * sigma_px) ** 2 * (fy**2 + fx**2))
    transfer = transfer * np.exp(-2j * np.pi * (fy * shift_px[0] + fx * shift_px[1]))
    spectrum = np.fft.rfft2(image, axes=(0, 1)) * transfer.astype(np.complex64)[..., None]
    return np.maximum(np.fft.irfft2(spectrum, s=(height, width), axes=(0, 1)), 0).astype(np.float32)


def _repeated(leaves: RGB) -> RGB:
    """Return a scene that repeats its middle, with a little of its own in every place."""
    height, width = leaves.shape[:2]
    side = max(width // _TILES_ACROSS, 8)
    tile = leaves[height // 2 :, width // 2 :][:side, :side]
    tiled = np.tile(tile, (-(-height // side), -(-width // side), 1))[:height, :width]
    fence = (1 - _UNIQUE_SHARE) * tiled + _UNIQUE_SHARE * leaves
    return np.asarray(fence / np.percentile(fence[..., 1], 98), np.float32)


def _lit_spot(shape: tuple[int, int], rng: np.random.Generator) -> Field:
    y, x = rng.uniform(0.3, 0.7, 2) * shape
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    lit = (rows - y) ** 2 + (columns - x) ** 2 < _LIT_SHARE * shape[0] * shape[1] / np.pi
    return np.where(lit, 1, _UNLIT).astype(np.float32)


def _falling_leaves(shape: tuple[int, int], rng: np.random.Generator) -> _Leaves:
    height, width = shape
    largest = max(_LARGEST_SHARE * min(shape), 2 * _SMALLEST_PX)
    # Density r**-3 is the scale-invariant one: each octave of sizes covers the same area.
    low, high = _SMALLEST_PX**-2, largest**-2
    mean_area = np.pi * np.log(low / high) / (low - high)
    count = int(_COVERAGE * height * width / mean_area) + 1
    return _Leaves(
        y=rng.uniform(0, height, count),
        x=rng.uniform(0, width, count),
        radius=rng.uniform(high, low, count) ** -0.5,
        angle=rng.uniform(0, np.pi, count),
        aspect=rng.uniform(0.4, 1.0, count),
    )


def _leaf_map(shape: tuple[int, int], leaves: _Leaves) -> Int32[np.ndarray, "h w"]:
    """Return which leaf is on top at each pixel; 0 is the ground."""
    ids = np.zeros(shape, np.int32)
    rows, columns = np.arange(shape[0], dtype=np.float32), np.arange(shape[1], dtype=np.float32)
    cos, sin = np.cos(leaves.angle), np.sin(leaves.angle)
    for number, (y, x, radius) in enumerate(zip(leaves.y, leaves.x, leaves.radius, strict=True)):
        top, left = max(int(y - radius), 0), max(int(x - radius), 0)
        box = (slice(top, int(y + radius) + 2), slice(left, int(x + radius) + 2))
        dy, dx = rows[box[0], None] - y, columns[None, box[1]] - x
        along = dx * cos[number] + dy * sin[number]
        across = (dy * cos[number] - dx * sin[number]) / leaves.aspect[number]
        if number % 3:
            inside = along * along + across * across < radius * radius
        else:
            inside = np.maximum(np.abs(along), np.abs(across)) < 0.7 * radius
        ids[box][inside] = number + 1
    return ids


def _texture(ids: Int32[np.ndarray, "h w"], count: int, rng: np.random.Generator) -> Field:
    """Return the relief of each leaf around 1: grain, cloud, stripes and a slope, each leaf in its own measure."""
    shape = ids.shape
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    angle, period = rng.uniform(0, np.pi, count), np.exp(rng.uniform(np.log(5), np.log(40), count))
    phase = ((np.cos(angle) / period).astype(np.float32))[ids] * columns.astype(np.float32)
    phase += ((np.sin(angle) / period).astype(np.float32))[ids] * rows.astype(np.float32)
    weights = rng.gamma(1.0, (0.12, 0.25, 0.15), (count, 3)).clip(0.03, 0.6).astype(np.float32)
    relief = weights[ids, 0] * _power_noise(shape, 0.5, rng)
    relief += weights[ids, 1] * _power_noise(shape, 1.5, rng)
    relief += weights[ids, 2] * np.sin(2 * np.pi * phase)
    return np.asarray(np.exp(relief), np.float32)


def _power_noise(shape: tuple[int, int], exponent: float, rng: np.random.Generator) -> Field:
    """Return Gaussian noise of amplitude 1 / frequency**exponent and unit variance."""
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :])
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal(shape, np.float32)) * frequency**-exponent
    noise = np.fft.irfft2(spectrum, s=shape)
    return np.asarray(noise / noise.std(), np.float32)


def _lamplight(shape: tuple[int, int], rng: np.random.Generator) -> Field:
    """Return the illumination: a floor, and lamps whose light falls with the square of the distance."""
    light = np.full(shape, 0.25, np.float32)
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    for _ in range(4):
        y, x = rng.uniform(-0.1, 1.1, 2) * shape
        reach = rng.uniform(0.15, 0.45) * max(shape)
        light += (rng.uniform(0.4, 1.4) / (1 + ((rows - y) ** 2 + (columns - x) ** 2) / reach**2)).astype(np.float32)
    return light


def _add_lights(radiance: RGB, rng: np.random.Generator) -> None:
    """Add small bright discs in place: windows and lamps, the heavy tail of a night scene."""
    height, width = radiance.shape[:2]
    bright = float(np.percentile(radiance[..., 1], 98))
    for _ in range(max(3, height * width // _PIXELS_PER_LIGHT)):
        y, x, radius = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(1, 4.5)
        tint = np.array([1.3, 1.0, rng.uniform(0.4, 1.3)], np.float32)
        box = (slice(max(int(y - radius), 0), int(y + radius) + 2), slice(max(int(x - radius), 0), int(x + radius) + 2))
        rows, columns = np.ogrid[box]
        disc = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
        radiance[box][disc[: radiance[box].shape[0], : radiance[box].shape[1]]] = bright * rng.uniform(0.8, 12) * tint
