"""What a decoded raw declares about its sensor: color filter array, levels and color; the black of masked pixels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import rawpy
from jaxtyping import Float64, Int, Shaped, UInt16

from sidcurate.cfa import kind_of, why_not_bayer
from sidcurate.raws.dng import SensorTags
from sidcurate.schemas import CfaKind, Source

Declared = tuple[tuple[float, ...], Source] | tuple[None, None]
Matrix = tuple[float, float, float, float, float, float, float, float, float]

_FOVEON_MAGIC = b"FOVb"
_NO_WHITE_TAG, _LARGEST_WHITE = 65535, 0xFFFFFFFF
# Linear sRGB (D65) to XYZ, IEC 61966-2-1.
_SRGB_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
# Successive differences of white noise have twice its variance (von Neumann's ratio). A margin that falls a tenth short
# of that over at least so many sites of one CFA position, where chance moves the ratio by 0.1, shows a picture.
_NOISE_RATIO, _ENOUGH_SITES = 1.8, 400


@dataclass(frozen=True)
class Sensor:
    """What is declared about the sensor; None where nothing is.

    Width and height are of the visible area in pixels. Levels are in DN by CFA position at the visible origin: four
    values for Bayer, one for every other kind. `white_balance` are the camera's multipliers for R, G, B with G = 1.
    `color_matrix` takes white-balanced camera RGB to linear sRGB, 3x3, row by row. `masked_black` is the median of the
    masked pixels around the visible area.
    """

    cfa_kind: CfaKind
    cfa: str | None
    cfa_reason: str | None
    width: int
    height: int
    bits_declared: int | None
    black_level: tuple[float, ...] | None
    black_source: Source | None
    white_level: tuple[float, ...] | None
    white_source: Source | None
    white_balance: tuple[float, float, float] | None
    color_matrix: Matrix | None
    masked_black: tuple[float, ...] | None


def declared_sensor(raw: rawpy.RawPy, head: bytes, tags: SensorTags | None) -> Sensor:
    """Return what an unpacked raw declares about its sensor.

    Levels come from the tags of a DNG (source "exif"), else from LibRaw (source "libraw"), whose 0 and 65535 for a
    missing tag are unknown.

    Args:
        raw: unpacked, not yet rendered: `postprocess` changes the pattern.
        head: first bytes of the file.
        tags: what that file states as a DNG.
    """
    letters = _letters(raw, tags)
    kind = _kind(raw, head, letters)
    black, black_source = _black(raw, tags, kind)
    white, white_source = _white(raw, tags, kind)
    return Sensor(
        cfa_kind=kind,
        cfa=letters,
        cfa_reason=why_not_bayer(kind, letters),
        width=raw.sizes.width,
        height=raw.sizes.height,
        bits_declared=_bits(white),
        black_level=black,
        black_source=black_source,
        white_level=white,
        white_source=white_source,
        white_balance=camera_white_balance(raw),
        color_matrix=_color_matrix(raw),
        masked_black=_masked_black(raw) if kind == "bayer" else None,
    )


def stated_sensor(tags: SensorTags) -> dict[str, Any]:
    """Return what a DNG states about a sensor, as fields of `schemas.Capture`.

    Nothing is told of an array without its pattern, nor where the visible area may be another than the stated one:
    LibRaw makes margins even.
    """
    is_told = tags.cfa is not None or tags.planes is not None
    if not is_told or any(place % 2 for place in (*tags.origin, *tags.size)) or not _lies_within(tags):
        return {}
    letters = None if tags.cfa is None else "".join(tags.cfa.ravel())
    kind = kind_of(letters) if letters else _kind_of_planes(tags.planes or 1)
    black = None if tags.black_level is None else _by_position(tags.black_level, kind)
    white = _stated_white(tags, kind)
    return {
        "height": tags.size[0],
        "width": tags.size[1],
        "cfa_kind": kind,
        "cfa": letters,
        "cfa_reason": why_not_bayer(kind, letters),
        "bits_declared": _bits(white),
        "black_level": black,
        "black_source": None if black is None else "exif",
        "white_level": white,
        "white_source": None if white is None else "exif",
    }


def _lies_within(tags: SensorTags) -> bool:
    """Tell whether ActiveArea is an area of the raw image."""
    sides = zip(tags.origin, tags.size, (tags.extent.height or 0, tags.extent.width or 0), strict=True)
    return all(0 <= start < start + length <= whole for start, length, whole in sides)


def _letters(raw: rawpy.RawPy, tags: SensorTags | None) -> str | None:
    """Return the letters of the color filter array at the visible origin; None where there is no such array.

    A DNG's own pattern tells quad-Bayer and RGBW, which LibRaw cannot name.
    """
    if raw.raw_type != rawpy.RawType.Flat or raw.num_colors == 1:
        return None
    if tags and tags.cfa is not None:
        return "".join(_at_visible_origin(raw, tags, tags.cfa).ravel())
    names = raw.color_desc.decode()
    return "".join(names[index] for index in color_indices(raw).ravel())


def _kind(raw: rawpy.RawPy, head: bytes, letters: str | None) -> CfaKind:
    if letters:
        return kind_of(letters)
    if head.startswith(_FOVEON_MAGIC):
        return "other"
    return _kind_of_planes(raw.num_colors)


def _kind_of_planes(count: int) -> CfaKind:
    return "monochrome" if count == 1 else "linear"


def color_indices(raw: rawpy.RawPy) -> Int[np.ndarray, "rows columns"]:
    """Return LibRaw's color indices at the visible origin: 0 R, 1 G, 2 B, 3 the second G."""
    rows, columns = np.asarray(raw.raw_pattern).shape
    top, left = raw.sizes.top_margin, raw.sizes.left_margin
    return np.array([[raw.raw_color(top + row, left + column) for column in range(columns)] for row in range(rows)])


def _at_visible_origin(
    raw: rawpy.RawPy, tags: SensorTags, pattern: Shaped[np.ndarray, "rows columns"]
) -> Shaped[np.ndarray, "rows columns"]:
    """Return a pattern that starts at ActiveArea as it starts at the visible area.

    The two differ by one site where ActiveArea has an odd margin: LibRaw makes margins even.
    """
    down, right = raw.sizes.top_margin - tags.origin[0], raw.sizes.left_margin - tags.origin[1]
    return np.roll(pattern, (-down, -right), (0, 1))


def _black(raw: rawpy.RawPy, tags: SensorTags | None, kind: CfaKind) -> Declared:
    if tags and tags.black_level is not None:
        return _by_position(_at_visible_origin(raw, tags, tags.black_level), kind), "exif"
    by_color = np.asarray(raw.black_level_per_channel, np.float64)  # In the order R, G, B, second G.
    if not by_color.any():
        return None, None
    cells = by_color[color_indices(raw)] if kind == "bayer" else by_color[None, : raw.num_colors]
    return _by_position(cells, kind), "libraw"


def _white(raw: rawpy.RawPy, tags: SensorTags | None, kind: CfaKind) -> Declared:
    if tags and (stated := _stated_white(tags, kind)):
        return stated, "exif"
    if raw.white_level in (0, _NO_WHITE_TAG):
        return None, None
    return _by_position(np.full((1, 1), float(raw.white_level)), kind), "libraw"


def _stated_white(tags: SensorTags, kind: CfaKind) -> tuple[float, ...] | None:
    if not tags.white_level or not 1 <= min(tags.white_level) <= _LARGEST_WHITE:  # Zero, too, is a damaged tag.
        return None
    return _by_position(np.full((1, 1), min(tags.white_level)), kind)


def _bits(white: tuple[float, ...] | None) -> int | None:
    return int(max(white)).bit_length() if white else None  # Equals ceil(log2(white + 1)).


def _by_position(cells: Float64[np.ndarray, "rows columns"], kind: CfaKind) -> tuple[float, ...]:
    """Return a repeating pattern of values by CFA position; one that is larger than 2x2 by its mean."""
    if kind != "bayer":
        return (float(cells.mean()),)
    if max(cells.shape) > 2:
        cells = cells.mean(keepdims=True)
    return tuple(float(value) for value in np.broadcast_to(cells, (2, 2)).ravel())


def camera_white_balance(raw: rawpy.RawPy) -> tuple[float, float, float] | None:
    """Return the camera's multipliers for R, G, B with G = 1; None where the file states none."""
    red, green, blue, _ = raw.camera_whitebalance
    known = raw.color_desc == b"RGBG" and min(red, green, blue) > 0 and np.isfinite([red, green, blue]).all()
    return (red / green, 1.0, blue / green) if known else None


def _color_matrix(raw: rawpy.RawPy) -> Matrix | None:
    """Return the file's own matrix, or one from LibRaw's table of XYZ-to-camera matrices.

    From the table it is derived as dcraw does: rows of sRGB-to-camera are scaled to sum to 1, so that white stays
    white, and the result is inverted.
    """
    matrix = np.asarray(raw.color_matrix, np.float64)[:, :3]
    table = np.asarray(raw.rgb_xyz_matrix, np.float64)[:3]
    if not matrix.any():
        if raw.color_desc != b"RGBG" or not table.any():
            return None
        camera = table @ _SRGB_TO_XYZ
        matrix = np.linalg.inv(camera / camera.sum(axis=1, keepdims=True))
    first, second, third = matrix.tolist()
    return (*first, *second, *third) if np.isfinite(matrix).all() else None


def _masked_black(raw: rawpy.RawPy) -> tuple[float, ...] | None:
    """Return the median of the masked pixels by CFA position, None where no margin is masked."""
    image, sizes = raw.raw_image, raw.sizes
    rows = slice(sizes.top_margin, sizes.top_margin + sizes.height)
    columns = slice(sizes.left_margin, sizes.left_margin + sizes.width)
    margins = [
        (slice(0, rows.start), columns, 1),
        (slice(rows.stop, image.shape[0]), columns, 1),
        (rows, slice(0, columns.start), 0),
        (rows, slice(columns.stop, image.shape[1]), 0),
    ]
    margins = [each for each in margins if image[each[:2]][::2, ::2].size >= _ENOUGH_SITES]
    if not margins:
        return None
    darkest = np.percentile(image[rows, columns][::9, ::9], 1)  # An odd stride visits all CFA positions.
    masked = [(high, wide) for high, wide, along in margins if _is_masked(image[high, wide], along, darkest)]
    if not masked:
        return None
    return tuple(
        float(np.median(np.concatenate([_sites(image, high, wide, row, column) for high, wide in masked])))
        for row in (rows.start, rows.start + 1)
        for column in (columns.start, columns.start + 1)
    )


def _is_masked(margin: UInt16[np.ndarray, "h w"], along: int, darkest: float) -> bool:
    """Tell whether a margin is darker than the darkest percentile of the picture and holds nothing but noise.

    A margin need not be masked: Sony's is lit, others are filled with a constant.
    """
    sites = margin[::2, ::2].astype(np.float64)
    low, median, high = np.percentile(sites, (25, 50, 75))
    if low == high or median > darkest:
        return False
    return bool((np.diff(sites, axis=along) ** 2).mean() >= _NOISE_RATIO * sites.var())


def _sites(
    image: UInt16[np.ndarray, "h w"], high: slice, wide: slice, row: int, column: int
) -> UInt16[np.ndarray, " sites"]:
    """Return the sites of a region that have the CFA position of (row, column), as one axis."""
    start = high.start + (row - high.start) % 2, wide.start + (column - wide.start) % 2
    return image[start[0] : high.stop : 2, start[1] : wide.stop : 2].ravel()
