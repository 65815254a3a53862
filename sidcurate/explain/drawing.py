"""The pictures of a pair as one PNG: the fit, the shift surface and what moved, side by side under the verdict.

The colors are those of Okabe and Ito (2008) and the map is cividis (Nuñez et al. 2018): color-blind people tell them
apart, and every line that has a color also has a shape of its own.
"""

import io
import math
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image, ImageDraw, ImageFont

from sidcurate.explain.account import Explanation
from sidcurate.explain.pictures import FitPicture, MovedPicture, ShiftPicture

SIZE: Final = 1280, 660
"""Width and height of the picture."""

_SIDE: Final = 340
_LEFTS: Final = 70, 500, 920
_TOP: Final = 200
_TITLE_CHARACTERS, _MESSAGE_CHARACTERS = 110, 190
_MOST_TITLE_LINES, _MOST_MESSAGE_LINES = 2, 4
_INK, _PAPER, _FAINT = (20, 20, 20), (255, 255, 255), (140, 140, 140)
_BLUE, _VERMILION = (0, 114, 178), (213, 94, 0)
_CIVIDIS: Final = ((0, 34, 78), (66, 78, 108), (124, 123, 120), (188, 175, 111), (254, 232, 56))
# Vermilion where the short frame is darker, blue where it is brighter.
_DIVERGING: Final = (_VERMILION, (255, 255, 255), _BLUE)
_UNSEEN: Final = (190, 190, 190)
_FULL_SE: Final = 15.0
_DOT: Final = 2
_LEGEND_LINE: Final = 18
_TICKS: Final = 5
# Signs that Pillow's own font lacks.
_SPELLED: Final = str.maketrans({"×": "x"})

Rgb: TypeAlias = UInt8[np.ndarray, "h w 3"]
Color: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True)
class _Axes:
    """A box on the page, and the values at its left, right, bottom and top edge."""

    draw: ImageDraw.ImageDraw
    left: int
    tall: int
    window: tuple[float, float, float, float]

    def x(self, value: float) -> float:
        low, high = self.window[:2]
        return self.left + _SIDE * (value - low) / (high - low)

    def y(self, value: float) -> float:
        bottom, top = self.window[2:]
        return _TOP + self.tall * (top - value) / (top - bottom)

    def frame(self, across: str, along: str) -> None:
        """Draw the edges, the ticks and the names of both axes."""
        base = _TOP + self.tall
        self.draw.rectangle((self.left, _TOP, self.left + _SIDE, base), outline=_INK)
        for value in _ticks(*self.window[:2]):
            self.draw.line((self.x(value), base, self.x(value), base + 4), _INK)
            self.draw.text((self.x(value), base + 6), f"{value:g}", _INK, _font(12), anchor="ma")
        for value in _ticks(*self.window[2:]):
            self.draw.line((self.left - 4, self.y(value), self.left, self.y(value)), _INK)
            self.draw.text((self.left - 6, self.y(value)), f"{value:g}", _INK, _font(12), anchor="rm")
        self.draw.text((self.left + _SIDE / 2, base + 24), across, _INK, _font(13), anchor="ma")
        self.draw.text((self.left, _TOP - 6), along, _INK, _font(13), anchor="ls")


def png(explanation: Explanation) -> bytes:
    """Return the pictures of a pair as PNG, `SIZE` wide and high, below its verdict and what its findings say."""
    image = Image.new("RGB", SIZE, _PAPER)
    draw = ImageDraw.Draw(image)
    _draw_words(draw, explanation)
    for left, caption in zip(_LEFTS, explanation.captions, strict=True):
        draw.text((left, _TOP - 52), _spelled(caption), _INK, _font(15))
    shown = explanation.pictures
    for left, part in zip(_LEFTS, (shown.fit, shown.shift, shown.moved), strict=True):
        if isinstance(part, str):
            _draw_reason(draw, left, part)
        elif isinstance(part, FitPicture):
            _draw_fit(image, _Axes(draw, left, _SIDE, part.window), part)
        elif isinstance(part, ShiftPicture):
            _draw_shift(
                image, _Axes(draw, left, _SIDE, (-part.span_px, part.span_px, part.span_px, -part.span_px)), part
            )
        else:
            _draw_moved(image, draw, left, part)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def _draw_words(draw: ImageDraw.ImageDraw, explanation: Explanation) -> None:
    title = textwrap.wrap(_spelled(explanation.verdict), _TITLE_CHARACTERS)[:_MOST_TITLE_LINES]
    for number, line in enumerate(title):
        draw.text((20, 16 + 28 * number), line, _INK, _font(21))
    worst_first = sorted(explanation.findings, key=lambda finding: finding.severity)
    messages = (f"{finding.code}: {_spelled(finding.message)}" for finding in worst_first)
    lines = [line for message in messages for line in textwrap.wrap(message, _MESSAGE_CHARACTERS)]
    for number, line in enumerate(lines[:_MOST_MESSAGE_LINES]):
        draw.text((20, 24 + 28 * len(title) + _LEGEND_LINE * number), line, _INK, _font(14))


def _draw_reason(draw: ImageDraw.ImageDraw, left: int, why: str) -> None:
    draw.rectangle((left, _TOP, left + _SIDE, _TOP + _SIDE), outline=_FAINT)
    draw.multiline_text((left + 16, _TOP + 16), textwrap.fill(_spelled(why), 40), _INK, _font(14))


def _draw_fit(image: Image.Image, axes: _Axes, fit: FitPicture) -> None:
    left, right, bottom, top = fit.window
    counts, _, _ = np.histogram2d(fit.short_dn, fit.long_dn, _SIDE // _DOT, ((bottom, top), (left, right)))
    density = np.log1p(counts[::-1]) / np.log1p(max(counts.max(), 1))
    gray = np.where(counts[::-1] > 0, 200 - 160 * density, 255)
    _paste(image, np.repeat(gray[..., None], 3, axis=2).astype(np.uint8), axes)
    styles = {"fitted": (_BLUE, None), "nominal": (_VERMILION, 12)}
    for number, (name, (zero, slope)) in enumerate(fit.lines.items()):
        color, dash = styles[name]
        start, end = ((axes.x(value), axes.y(zero + slope * value)) for value in (max(left, 0), right))
        _line(axes.draw, start, end, color, dash)
        y = _TOP + 16 + number * _LEGEND_LINE
        _line(axes.draw, (axes.left + 10, y), (axes.left + 50, y), color, dash)
        axes.draw.text((axes.left + 58, y), f"{name}: {1 / slope:.4g}x", _INK, _font(13), anchor="lm")
    axes.frame("long, DN above black", "short, DN above black")


def _draw_shift(image: Image.Image, axes: _Axes, shift: ShiftPicture) -> None:
    _paste(image, _colored((shift.surface - shift.surface.min()) / np.ptp(shift.surface), _CIVIDIS), axes)
    radius = shift.limit_px
    circle = (axes.x(-radius), axes.y(-radius), axes.x(radius), axes.y(radius))
    axes.draw.ellipse(circle, outline=_PAPER, width=4)
    axes.draw.ellipse(tuple(np.add(circle, (1, 1, -1, -1))), outline=_VERMILION, width=2)
    if shift.peak is not None:
        y, x = axes.y(shift.peak[0]), axes.x(shift.peak[1])
        for width, color in ((5, _PAPER), (2, _INK)):
            axes.draw.line((x - 9, y, x + 9, y), color, width)
            axes.draw.line((x, y - 9, x, y + 9), color, width)
    axes.frame("right, px", "long frame's displacement down, px")
    legend = f"circle: {shift.limit_px:g} px allowed; " + ("cross: measured" if shift.peak else "no place measured")
    axes.draw.text((axes.left, _TOP + _SIDE + 46), legend, _INK, _font(13))
    axes.draw.text((axes.left, _TOP + _SIDE + 64), "color: correlation, yellow high", _INK, _font(13))


def _draw_moved(image: Image.Image, draw: ImageDraw.ImageDraw, left: int, moved: MovedPicture) -> None:
    rows, columns = moved.departure_se.shape
    tall = min(round(_SIDE * rows / columns), _SIDE)
    axes = _Axes(draw, left, tall, (0, columns * moved.block_px, rows * moved.block_px, 0))
    clear = np.where(np.abs(moved.departure_se) > moved.shown_from_se, moved.departure_se, 0)
    colors = _colored(np.clip(clear / _FULL_SE, -1, 1) / 2 + 0.5, _DIVERGING)
    colors[np.isnan(moved.departure_se)] = _UNSEEN
    _paste(image, colors, axes)
    axes.frame("across the frame, px", "down the frame, px")
    legend = (
        (_BLUE, "short frame brighter than the long one promises"),
        (_VERMILION, "darker"),
        (_UNSEEN, "clipped or out of view"),
    )
    for number, (color, words) in enumerate(legend):
        y = _TOP + tall + 54 + number * _LEGEND_LINE
        draw.rectangle((left, y - 6, left + 12, y + 6), color)
        draw.text((left + 20, y), words, _INK, _font(13), anchor="lm")
    y = _TOP + tall + 54 + len(legend) * _LEGEND_LINE
    draw.text(
        (left, y), f"from {moved.shown_from_se:g} standard errors, full color at {_FULL_SE:g}", _INK, _font(13), "lm"
    )


def _line(
    draw: ImageDraw.ImageDraw, start: tuple[float, float], end: tuple[float, float], color: Color, dash: int | None
) -> None:
    """Draw a line, solid or dashed, where it lies in the box of a picture."""
    length = math.dist(start, end)
    step = dash or length
    for at in np.arange(0, length, 2 * step if dash else step):
        first, last = at / length, min((at + step) / length, 1)
        points = [tuple(a + (b - a) * part for a, b in zip(start, end, strict=True)) for part in (first, last)]
        draw.line(points, color, 2)


def _paste(image: Image.Image, colors: Rgb, axes: _Axes) -> None:
    image.paste(Image.fromarray(colors).resize((_SIDE, axes.tall), Image.Resampling.NEAREST), (axes.left, _TOP))


def _colored(values: Float64[np.ndarray, "h w"], colors: tuple[Color, ...]) -> Rgb:
    """Return values from 0 to 1 in colors between those given."""
    stops = np.linspace(0, 1, len(colors))
    channels = [np.interp(np.nan_to_num(values), stops, channel) for channel in zip(*colors, strict=True)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def _ticks(first: float, last: float) -> Iterator[float]:
    """Yield round values between two, about `_TICKS` of them."""
    low, high = sorted((first, last))
    raw = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
    for number in range(math.ceil(low / step), math.floor(high / step) + 1):
        yield number * step


def _spelled(text: str) -> str:
    return text.translate(_SPELLED)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
