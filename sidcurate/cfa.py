"""Color filter arrays: naming them, packing a Bayer mosaic into planes and back.

`planes` are (4, h/2, w/2): R, G on the red row, B, G on the blue row, whatever the phase of the mosaic. This is the
plane order of the published See-in-the-Dark weights. A phase other than RGGB is moved to RGGB by cropping one row or
column from the mosaic and from its target alike.
"""

from typing import TypeVar

import numpy as np
from jaxtyping import Shaped

from sidcurate.errors import UsageError
from sidcurate.schemas import CfaKind

# Rows and columns to crop so that the phase becomes RGGB.
PHASE_OFFSETS = {"RGGB": (0, 0), "GRBG": (0, 1), "GBRG": (1, 0), "BGGR": (1, 1)}

# Each filter of an RGGB block covers 2x2 sites; the pattern may start at any of its 16 sites.
_QUAD = np.array(list("RRGGRRGGGGBBGGBB")).reshape(4, 4)
_QUAD_PATTERNS = {"".join(np.roll(_QUAD, start, (0, 1)).ravel()) for start in np.ndindex(4, 4)}
_QUAD_QUARTERS = ("RRGG", "GGRR", "GGBB", "BBGG")
_OTHER_ARRAYS = {"CMYG": "CMYG", "RGBW": "RGBW", "irregular RGB": "RGB"}
_WHY_NOT_BAYER: dict[CfaKind, str] = {
    "xtrans": "X-Trans: a 6x6 color filter array",
    "quad-bayer": "quad-Bayer: filters in blocks of 2x2; let the phone bin it or remosaic it to Bayer first",
    "linear": "already demosaiced: a linear raw with several values a pixel has no mosaic",
    "monochrome": "monochrome: the sensor has no color filter array",
}

T = TypeVar("T")


def phase_offset(cfa: str) -> tuple[int, int]:
    """Return the (rows, columns) to crop from the top left so that the mosaic starts with RGGB.

    Raises:
        UsageError: the letters are not one of the four Bayer phases.
    """
    if cfa not in PHASE_OFFSETS:
        raise UsageError(
            f"CFA {cfa!r} is not a Bayer phase ({', '.join(PHASE_OFFSETS)}): it cannot be packed in four planes"
        )
    return PHASE_OFFSETS[cfa]


def crop_to_rggb(image: Shaped[np.ndarray, "h w *c"], cfa: str) -> Shaped[np.ndarray, "H W *c"]:
    """Return the view of a mosaic, or of its RGB target, that starts with RGGB and has even sides."""
    top, left = phase_offset(cfa)
    height, width = ((size - start) // 2 * 2 for size, start in zip(image.shape, (top, left), strict=False))
    return image[top : top + height, left : left + width]


def pack(mosaic: Shaped[np.ndarray, "h w"], cfa: str) -> Shaped[np.ndarray, "4 h2 w2"]:
    """Return the planes R, G, B, G of a Bayer mosaic, by phase; same dtype, a copy.

    >>> pack(np.arange(16).reshape(4, 4), "RGGB")[:, 0, 0].tolist()
    [0, 1, 5, 4]
    """
    rggb = crop_to_rggb(mosaic, cfa)
    return np.stack([rggb[0::2, 0::2], rggb[0::2, 1::2], rggb[1::2, 1::2], rggb[1::2, 0::2]])


def unpack(planes: Shaped[np.ndarray, "4 h2 w2"]) -> Shaped[np.ndarray, "h w"]:
    """Return the RGGB mosaic of four planes: the inverse of `pack` on the cropped mosaic."""
    _, height, width = planes.shape
    mosaic = np.empty((2 * height, 2 * width), planes.dtype)
    for plane, (row, column) in zip(planes, ((0, 0), (0, 1), (1, 1), (1, 0)), strict=True):
        mosaic[row::2, column::2] = plane
    return mosaic


def sites(mosaic: Shaped[np.ndarray, "h w"]) -> tuple[Shaped[np.ndarray, "hs ws"], ...]:
    """Return the four views of a mosaic by CFA position, row by row."""
    return tuple(mosaic[row::2, column::2] for row in (0, 1) for column in (0, 1))


def by_plane(values: tuple[T, ...], cfa: str) -> tuple[T, ...]:
    """Return values given by CFA position in the order of the planes R, G (red row), B, G (blue row).

    >>> by_plane((10, 11, 12, 13), "BGGR")
    (13, 12, 10, 11)
    """
    top, left = phase_offset(cfa)
    return tuple(values[(row + top) % 2 * 2 + (column + left) % 2] for row, column in ((0, 0), (0, 1), (1, 1), (1, 0)))


def kind_of(letters: str) -> CfaKind:
    """Return the kind of a color filter array from the letters of its smallest pattern, row by row.

    Quad-Bayer is 4x4; where a file states no pattern of its own, LibRaw shows a quarter of it, such as "RRGG".

    >>> kind_of("GRBG"), kind_of("RRGGRRGGGGBBGGBB"), kind_of("GMYC")
    ('bayer', 'quad-bayer', 'other')
    """
    if letters in PHASE_OFFSETS:
        return "bayer"
    if set(letters) != set("RGB"):
        return "quad-bayer" if letters in _QUAD_QUARTERS else "other"
    if len(letters) == 36:
        return "xtrans"
    return "quad-bayer" if letters in _QUAD_PATTERNS else "other"


def why_not_bayer(kind: CfaKind, letters: str | None) -> str | None:
    """Return in words what a sensor other than Bayer is; None for Bayer."""
    if kind != "other":
        return _WHY_NOT_BAYER.get(kind)
    if not letters:
        return "Foveon: three colors a site, no color filter array"
    named = next((name for name, colors in _OTHER_ARRAYS.items() if set(letters) == set(colors)), "unknown")
    return f"{named} color filter array ({letters})"
