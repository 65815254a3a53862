"""The panel: rows of scenes, columns from the short as shot to the target, each with its PSNR."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float32
from PIL import Image, ImageDraw, ImageFont

AS_SHOT: Final = "as shot"
# Columns by name, in order, each with its width in px: the short as shot is nearly black and needs none.
_COLUMNS: Final = {AS_SHOT: 96, "amplified": 320, "gaussian": 320, "network": 320, "target": 320}
_HEIGHT, _GAP, _LINE, _HEADER = 320, 8, 22, 60
_CROP = 1024
_INK, _PAPER = (20, 20, 20), (250, 250, 250)


@dataclass(frozen=True)
class Row:
    """One scene of the panel.

    Attributes:
        title: scene and ratio.
        cells: thumbnail by column.
        labels: text under each thumbnail by column.
    """

    title: str
    cells: Mapping[str, Image.Image]
    labels: Mapping[str, str]


def row(title: str, pictures: Mapping[str, Float32[np.ndarray, "h w 3"]], labels: Mapping[str, str]) -> Row:
    """Return a row of thumbnails, so that the pictures themselves need not be kept.

    Args:
        title: scene and ratio.
        pictures: by column, in 0..1; others are left out. What is shown is the center, at most 1024 px a side, so that
            noise and blur stay visible.
        labels: text by column.
    """
    return Row(title, {name: _thumbnail(pictures[name], width) for name, width in _COLUMNS.items()}, labels)


def png(title: str, rows: Sequence[Row]) -> bytes:
    """Return the panel as PNG."""
    width = _GAP + sum(cell + _GAP for cell in _COLUMNS.values())
    image = Image.new("RGB", (width, _HEADER + len(rows) * (_HEIGHT + 2 * _LINE + _GAP)), _PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((_GAP, _GAP), title, _INK, ImageFont.load_default(18))
    for number, line in enumerate(rows):
        top = _HEADER + number * (_HEIGHT + 2 * _LINE + _GAP)
        draw.text((_GAP, top), line.title, _INK, ImageFont.load_default(15))
        _draw_cells(image, draw, line, top + _LINE)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _draw_cells(image: Image.Image, draw: ImageDraw.ImageDraw, line: Row, top: int) -> None:
    left = _GAP
    for name, width in _COLUMNS.items():
        image.paste(line.cells[name], (left, top))
        draw.text((left, top + _HEIGHT + 2), line.labels.get(name, name), _INK, ImageFont.load_default(13))
        left += width + _GAP


def _thumbnail(picture: Float32[np.ndarray, "h w 3"], width: int) -> Image.Image:
    """Return the center of a picture that fills a cell, without distortion."""
    height, full = picture.shape[:2]
    side = min(height, full * _HEIGHT // width, _CROP)
    rows, columns = side, side * width // _HEIGHT
    top, left = (height - rows) // 2, (full - columns) // 2
    center = picture[top : top + rows, left : left + columns]
    image = Image.fromarray((np.clip(center, 0, 1) * 255).round().astype(np.uint8))
    return image.resize((width, _HEIGHT), Image.Resampling.BOX if side >= _HEIGHT else Image.Resampling.NEAREST)
