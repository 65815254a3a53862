"""Color filter arrays: naming them, and packing a mosaic into planes.

`planes` of a Bayer mosaic are (4, h/2, w/2): R, G on the red row, B, G on the blue row, whatever the phase of the
mosaic. `planes` of an X-Trans mosaic are (9, h/3, w/3): R, G, B of the upper row of each block of 3x3 sites, R and B of
its right column, and the four G that are left. These are the plane orders of the published See-in-the-Dark weights. A
phase other than theirs is moved there by cropping rows or columns from the mosaic and from its target alike.
"""

from dataclasses import dataclass
from math import isqrt
from typing import Final, Literal, TypeVar

import numpy as np
from jaxtyping import Shaped

from sidcurate.errors import UsageError
from sidcurate.schemas import CfaKind

Packing = Literal["by-phase", "by-position"]
Site = tuple[int, int]  # row and column

# Rows and columns to crop so that the phase becomes RGGB.
PHASE_OFFSETS: Final = {"RGGB": (0, 0), "GRBG": (0, 1), "GBRG": (1, 0), "BGGR": (1, 1)}
PLANE_COLORS: Final = {4: "RGBG", 9: "RGBRBGGGG"}

_BAYER_SITES: Final = (((0, 0),), ((0, 1),), ((1, 1),), ((1, 0),))
# The phase that SID's planes of an X-Trans mosaic start from. Half of its 36 shifts are the other half again.
_XTRANS: Final = np.array(list("RBGBRGGGRGGBGGBGGRBRGRBGGGBGGRGGRGGB")).reshape(6, 6)
_XTRANS_OFFSETS: Final = {
    "".join(np.roll(_XTRANS, offset, (0, 1)).ravel()): offset for offset in reversed(list(np.ndindex(6, 6)))
}

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


@dataclass(frozen=True)
class Layout:
    """How a mosaic becomes planes.

    Attributes:
        offset: rows and columns that are cut from the top left of the mosaic and of its target.
        side: sites along a side of a packed px: 2 of Bayer, 3 of X-Trans.
        sites: of each plane its site in each packed px of one period, row by row: one px of Bayer, 2x2 of X-Trans.
    """

    offset: Site
    side: int
    sites: tuple[tuple[Site, ...], ...]

    @property
    def planes(self) -> int:
        """Count of the planes."""
        return len(self.sites)

    @property
    def _repeat(self) -> int:
        """Packed px along a side of one period of the array."""
        return isqrt(len(self.sites[0]))

    def packed(self, height: int, width: int) -> tuple[int, int]:
        """Return the packed size of a mosaic of a size; what does not fill a period of the array is cut off."""
        period = self.side * self._repeat
        rows, columns = (max(0, size - cut) // period for size, cut in zip((height, width), self.offset, strict=True))
        return rows * self._repeat, columns * self._repeat

    def crop(self, image: Shaped[np.ndarray, "h w *c"]) -> Shaped[np.ndarray, "H W *c"]:
        """Return the view of a mosaic, or of its RGB target, that the planes show."""
        height, width = (self.side * size for size in self.packed(*image.shape[:2]))
        top, left = self.offset
        return image[top : top + height, left : left + width]

    def pack(self, mosaic: Shaped[np.ndarray, "h w"]) -> Shaped[np.ndarray, "p hs ws"]:
        """Return the planes of a mosaic; same dtype, a copy.

        >>> layout("RGGB").pack(np.arange(16).reshape(4, 4))[:, 0, 0].tolist()
        [0, 1, 5, 4]
        """
        cropped, repeat = self.crop(mosaic), self._repeat
        period = self.side * repeat
        planes = np.empty((self.planes, *self.packed(*mosaic.shape)), mosaic.dtype)
        for plane, sites in zip(planes, self.sites, strict=True):
            for (row, column), (down, right) in zip(sites, np.ndindex(repeat, repeat), strict=True):
                plane[down::repeat, right::repeat] = cropped[row::period, column::period]
        return planes

    def unpack(self, planes: Shaped[np.ndarray, "p hs ws"]) -> Shaped[np.ndarray, "h w"]:
        """Return the mosaic of planes: the inverse of `pack` on what `crop` leaves."""
        _, height, width = planes.shape
        mosaic, repeat = np.empty((self.side * height, self.side * width), planes.dtype), self._repeat
        period = self.side * repeat
        for plane, sites in zip(planes, self.sites, strict=True):
            for (row, column), (down, right) in zip(sites, np.ndindex(repeat, repeat), strict=True):
                mosaic[row::period, column::period] = plane[down::repeat, right::repeat]
        return mosaic

    def by_plane(self, values: tuple[T, ...]) -> tuple[T, ...]:
        """Return values given by 2x2 CFA position in the order of the planes; one value is that of all planes.

        >>> layout("BGGR").by_plane((10, 11, 12, 13))
        (13, 12, 10, 11)
        """
        if len(values) == 1:
            return values * self.planes
        top, left = self.offset
        return tuple(values[(row + top) % 2 * 2 + (column + left) % 2] for ((row, column),) in self.sites)


def layout(cfa: str, packing: Packing = "by-phase") -> Layout:
    """Return how a mosaic is packed, from the letters of its array, row by row.

    Args:
        cfa: letters at the visible origin, four for Bayer, 36 for X-Trans.
        packing: 'by-position' takes the mosaic as it comes, as ports of SID do: the planes of a Bayer mosaic other than
            RGGB then hold other colors than those of the published weights.

    Raises:
        UsageError: the letters are neither a Bayer phase nor an X-Trans array.
    """
    offset = PHASE_OFFSETS.get(cfa) or _XTRANS_OFFSETS.get(cfa)
    if offset is None:
        raise UsageError(
            f"CFA {cfa!r} is not a Bayer phase ({', '.join(PHASE_OFFSETS)}) and no X-Trans array: it cannot be packed"
        )
    start = offset if packing == "by-phase" else (0, 0)
    return Layout(start, 2, _BAYER_SITES) if cfa in PHASE_OFFSETS else Layout(start, 3, _xtrans_sites())


def _xtrans_sites() -> tuple[tuple[Site, ...], ...]:
    """Return the sites of the nine planes in the four blocks of 3x3 of a period."""
    upper, right, rest = [(0, 0), (0, 1), (0, 2)], [(1, 2), (2, 2)], [(1, 0), (1, 1), (2, 0), (2, 1)]
    blocks = []
    for corner in ((0, 0), (0, 3), (3, 0), (3, 3)):
        here = [[(corner[0] + row, corner[1] + column) for row, column in group] for group in (upper, right, rest)]
        colored = [{str(_XTRANS[site]): site for site in group} for group in here[:2]]
        blocks.append([*(colored[0][color] for color in "RGB"), *(colored[1][color] for color in "RB"), *here[2]])
    return tuple(zip(*blocks, strict=True))


def phase_offset(cfa: str) -> Site:
    """Return the (rows, columns) to crop from the top left of a Bayer mosaic so that it starts with RGGB.

    Raises:
        UsageError: the letters are not one of the four Bayer phases.
    """
    if cfa not in PHASE_OFFSETS:
        raise UsageError(
            f"CFA {cfa!r} is not a Bayer phase ({', '.join(PHASE_OFFSETS)}): it cannot be packed in four planes"
        )
    return PHASE_OFFSETS[cfa]


def sites(mosaic: Shaped[np.ndarray, "h w"]) -> tuple[Shaped[np.ndarray, "hs ws"], ...]:
    """Return the four views of a mosaic by 2x2 position, row by row."""
    return tuple(mosaic[row::2, column::2] for row in (0, 1) for column in (0, 1))


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
