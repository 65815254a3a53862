"""The panel: rows of scenes, columns from the short as shot to the target, each with its PSNR.

It shows the worst scenes of a network first, then the most typical: what an average hides, and what it means.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float32
from PIL import Image, ImageDraw, ImageFont

AS_SHOT: Final = "as shot"
WORST, TYPICAL = 3, 2
# The short as shot is nearly black and needs no width.
_WIDTH, _NARROW = 320, 96
_HEIGHT, _GAP, _LINE, _HEADER = 320, 8, 22, 66
_CROP = 1024
_INK, _PAPER = (20, 20, 20), (250, 250, 250)

# Makes RGB of a picture that may have other channels.
Seen = Callable[[Float32[np.ndarray, "h w c"]], Float32[np.ndarray, "h w 3"]]


@dataclass(frozen=True)
class Cell:
    """A thumbnail and the text under it."""

    image: Image.Image
    label: str


@dataclass(frozen=True)
class Row:
    """One scene of the panel.

    Attributes:
        title: scene, ratio, and why it is shown.
        cells: by column, in their order; all rows have the same columns.
    """

    title: str
    cells: Mapping[str, Cell]


def _as_it_is(picture: Float32[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w 3"]:
    return picture


def chosen(from_worst: Sequence[str]) -> dict[str, str]:
    """Return which scenes to show, and why: the worst three, then the two nearest to the median of the others.

    Args:
        from_worst: all scenes, the worst first.

    >>> chosen(["a", "b", "c", "d", "e", "f", "g"])
    {'a': 'worst', 'b': 'worst', 'c': 'worst', 'e': 'typical', 'f': 'typical'}
    """
    rest = from_worst[WORST:]
    first = max(0, (len(rest) - TYPICAL + 1) // 2)
    return dict.fromkeys(from_worst[:WORST], "worst") | dict.fromkeys(rest[first : first + TYPICAL], "typical")


def cell(column: str, picture: Float32[np.ndarray, "h w c"], label: str, seen: Seen = _as_it_is) -> Cell:
    """Return a thumbnail, so that the picture itself need not be kept.

    Args:
        column: name of the column.
        picture: in 0..1. What is shown is the center, at most 1024 px a side, so that noise and blur stay visible.
        label: text under it.
        seen: makes RGB of what is shown, where that is none.
    """
    return Cell(_thumbnail(picture, _width(column), seen), label)


def png(title: str, note: str, rows: Sequence[Row]) -> bytes:
    """Return the panel of at least one row as PNG, under two lines of text."""
    width = _GAP + sum(_width(column) + _GAP for column in rows[0].cells)
    image = Image.new("RGB", (width, _HEADER + len(rows) * (_HEIGHT + 2 * _LINE + _GAP)), _PAPER)
    draw = ImageDraw.Draw(image)
    for top, text, size in ((8, title, 18), (34, note, 13)):
        font = ImageFont.load_default(size)
        draw.text((_GAP, top), fitted(text, width - 2 * _GAP, font.getlength), _INK, font)
    for number, line in enumerate(rows):
        top = _HEADER + number * (_HEIGHT + 2 * _LINE + _GAP)
        draw.text((_GAP, top), line.title, _INK, ImageFont.load_default(15))
        _draw_cells(image, draw, line, top + _LINE)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _draw_cells(image: Image.Image, draw: ImageDraw.ImageDraw, line: Row, top: int) -> None:
    left, font = _GAP, ImageFont.load_default(13)
    for column, shown in line.cells.items():
        image.paste(shown.image, (left, top))
        draw.text((left, top + _HEIGHT + 2), fitted(shown.label, _width(column), font.getlength), _INK, font)
        left += _width(column) + _GAP


def fitted(text: str, width: float, length: Callable[[str], float]) -> str:
    """Return a text that is as wide as its place at most: a longer one lacks its middle, as it differs at the ends.

    >>> fitted("from-sid-sony-on-six-pairs  24.51 dB", 20, len)
    'from-sid-...24.51 dB'
    """
    kept, shown = len(text), text
    while kept and length(shown) > width:
        kept -= 1
        shown = f"{text[: (kept + 1) // 2]}...{text[len(text) - kept // 2 :]}"
    return shown


def _width(column: str) -> int:
    return _NARROW if column == AS_SHOT else _WIDTH


def _thumbnail(picture: Float32[np.ndarray, "h w c"], width: int, seen: Seen) -> Image.Image:
    """Return the center of a picture that fills a cell, without distortion."""
    height, full = picture.shape[:2]
    side = min(height, full * _HEIGHT // width, _CROP)
    rows, columns = side, side * width // _HEIGHT
    top, left = (height - rows) // 2, (full - columns) // 2
    center = seen(picture[top : top + rows, left : left + columns])
    image = Image.fromarray((np.clip(center, 0, 1) * 255).round().astype(np.uint8))
    return image.resize((width, _HEIGHT), Image.Resampling.BOX if side >= _HEIGHT else Image.Resampling.NEAREST)
