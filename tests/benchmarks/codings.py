"""The codings in which cameras and converters store a mosaic of 14 bits, as the pixels of a DNG."""

import imagecodecs
import numpy as np
from jaxtyping import UInt16

from sidcurate.synthetic.dng import Stored

_TILE = 256
_LOSSLESS_JPEG = 7

Mosaic = UInt16[np.ndarray, "h w"]


def one_scan(mosaic: Mosaic) -> Stored:
    """Lossless JPEG of the whole frame, as most bodies compress."""
    return Stored([_lossless_jpeg(mosaic)], compression=_LOSSLESS_JPEG)


def tiles(mosaic: Mosaic) -> Stored:
    """Lossless JPEG in tiles, as converters to DNG and newer bodies compress."""
    height, width = mosaic.shape
    padded = np.pad(mosaic, ((0, -height % _TILE), (0, -width % _TILE)), mode="edge")
    corners = np.ndindex(padded.shape[0] // _TILE, padded.shape[1] // _TILE)
    parts = [
        _lossless_jpeg(padded[row * _TILE : (row + 1) * _TILE, column * _TILE : (column + 1) * _TILE])
        for row, column in corners
    ]
    return Stored(parts, compression=_LOSSLESS_JPEG, tile=(_TILE, _TILE))


def packed(mosaic: Mosaic) -> Stored:
    """Four sites of 14 bits in seven bytes, uncompressed."""
    first, second, third, fourth = mosaic.reshape(-1, 4).T.astype(np.uint64)
    words = (first << 42) | (second << 28) | (third << 14) | fourth
    return Stored([words.astype(">u8").view(np.uint8).reshape(-1, 8)[:, 1:].tobytes()], bits=14)


def plain(mosaic: Mosaic) -> Stored:
    """Two bytes a site, uncompressed: the least work for a decoder."""
    return Stored([mosaic.astype("<u2").tobytes()])


CODINGS = {"lossless JPEG": one_scan, "lossless JPEG in tiles": tiles, "packed": packed, "uncompressed": plain}


def _lossless_jpeg(mosaic: Mosaic) -> bytes:
    # Two rows as one: what is above a site, from which it is predicted, then has the same filter.
    height, width = mosaic.shape
    rows = np.ascontiguousarray(mosaic).reshape(height // 2, 2 * width)
    return bytes(imagecodecs.ljpeg_encode(rows, bitspersample=14))
