"""The few-pair curve as a picture: every training a dot, its mean and interval over scenes, the controls as lines.

The colors are those of Okabe and Ito (2008); each start has a shape of its own too.
"""

import io
import math
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from sidtrain.study.curve import STARTS, Curve, Level, Start

_SIZE: Final = 900, 560
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 640, 60, 480
_INK, _PAPER, _FAINT = (20, 20, 20), (255, 255, 255), (220, 220, 220)
_COLORS: Final[dict[Start, tuple[int, int, int]]] = {"fine-tuned": (0, 114, 178), "scratch": (213, 94, 0)}
_GAUSSIAN: Final = (110, 110, 110)
_ASIDE: Final[dict[Start, int]] = {"fine-tuned": -9, "scratch": 9}
_TICKS: Final = 6
_DASH: Final = 8


class _Axes:
    """Where a count of pairs and a PSNR lie on the page."""

    def __init__(self, curve: Curve) -> None:
        self.counts = sorted({level.pairs for level in curve.levels})
        values = [value for level in curve.levels for value in (*level.by_repeat, *_interval(level))]
        values += [line.mean for line in (curve.zero_shot, curve.gaussian) if line]
        self.low, self.high = math.floor(min(values)), math.ceil(max(values))
        self.high += self.low == self.high

    def x(self, pairs: int) -> float:
        return _LEFT + (_RIGHT - _LEFT) * (self.counts.index(pairs) + 0.5) / len(self.counts)

    def y(self, psnr_db: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * (psnr_db - self.low) / (self.high - self.low)


def png(curve: Curve) -> bytes:
    """Return the curve as PNG."""
    image = Image.new("RGB", _SIZE, _PAPER)
    draw = ImageDraw.Draw(image)
    axes = _Axes(curve)
    scenes = curve.gaussian.n
    draw.text((_LEFT, 18), f"{curve.device}: PSNR by pairs trained on, {scenes} {curve.split} scenes", _INK, _font(17))
    _draw_axes(draw, axes)
    for level in curve.levels:
        _draw_level(draw, axes, level)
    for start in STARTS:
        _draw_means(draw, axes, [level for level in curve.levels if level.start == start])
    _draw_controls(draw, axes, curve)
    _draw_legend(draw, curve)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def _draw_axes(draw: ImageDraw.ImageDraw, axes: _Axes) -> None:
    step = max(1, round((axes.high - axes.low) / _TICKS))
    for value in range(axes.low, axes.high + 1, step):
        draw.line((_LEFT, axes.y(value), _RIGHT, axes.y(value)), _FAINT)
        draw.text((_LEFT - 8, axes.y(value)), f"{value}", _INK, _font(13), anchor="rm")
    for count in axes.counts:
        draw.text((axes.x(count), _BOTTOM + 8), f"{count}", _INK, _font(13), anchor="ma")
    draw.rectangle((_LEFT, _TOP, _RIGHT, _BOTTOM), outline=_INK)
    draw.text(((_LEFT + _RIGHT) / 2, _BOTTOM + 32), "pairs trained on", _INK, _font(14), anchor="ma")
    draw.text((_LEFT, _TOP - 6), "dB", _INK, _font(13), anchor="rs")


def _draw_level(draw: ImageDraw.ImageDraw, axes: _Axes, level: Level) -> None:
    color, x = _COLORS[level.start], axes.x(level.pairs) + _ASIDE[level.start]
    interval = [axes.y(value) for value in _interval(level)]
    if interval:
        draw.line((x, interval[0], x, interval[1]), color, 1)
        for y in interval:
            draw.line((x - 4, y, x + 4, y), color, 1)
    for value in level.by_repeat:
        _mark(draw, level.start, x, axes.y(value))


def _interval(level: Level) -> tuple[float, ...]:
    low, high = level.psnr_db.low, level.psnr_db.high
    return () if low is None or high is None else (low, high)


def _mark(draw: ImageDraw.ImageDraw, start: Start, x: float, y: float) -> None:
    if start == "fine-tuned":
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), _COLORS[start], _PAPER)
    else:
        draw.polygon(((x - 5, y + 4), (x + 5, y + 4), (x, y - 5)), _COLORS[start], _PAPER)


def _draw_means(draw: ImageDraw.ImageDraw, axes: _Axes, line: list[Level]) -> None:
    points = [(axes.x(level.pairs) + _ASIDE[level.start], axes.y(level.psnr_db.mean)) for level in line]
    for (x, y), level in zip(points, line, strict=True):
        draw.line((x - 8, y, x + 8, y), _COLORS[level.start], 2)
    if len(points) > 1:
        draw.line(points, _COLORS[line[0].start], 2)


def _draw_controls(draw: ImageDraw.ImageDraw, axes: _Axes, curve: Curve) -> None:
    for value, color, dash in ((curve.zero_shot, _COLORS["fine-tuned"], _DASH), (curve.gaussian, _GAUSSIAN, 3)):
        if value:
            _dashed(draw, _LEFT, _RIGHT, axes.y(value.mean), color, dash)


def _dashed(draw: ImageDraw.ImageDraw, left: int, right: int, y: float, color: tuple[int, int, int], dash: int) -> None:
    for x in range(left, right, 2 * dash):
        draw.line((x, y, min(x + dash, right), y), color, 2)


def _draw_legend(draw: ImageDraw.ImageDraw, curve: Curve) -> None:
    x, y = _RIGHT + 24, _TOP + 8
    for start in STARTS:
        if any(level.start == start for level in curve.levels):
            _mark(draw, start, x + 12, y)
            draw.text((x + 32, y), f"{start}, each training", _INK, _font(13), anchor="lm")
            y += 24
    controls = [("zero-shot", curve.zero_shot, _COLORS["fine-tuned"], _DASH)]
    controls += [("amplified + Gaussian", curve.gaussian, _GAUSSIAN, 3)]
    for name, value, color, dash in controls:
        if value:
            _dashed(draw, x, x + 26, y, color, dash)
            draw.text((x + 32, y), f"{name}: {value.mean:.1f} dB", _INK, _font(13), anchor="lm")
            y += 24
    bar = "bar: 95 % interval over scenes" if any(map(_interval, curve.levels)) else "too few scenes for an interval"
    notes = ["line: mean over repeats and scenes", bar, curve.protocol]
    for note in notes:
        draw.text((x, y + 8), note, _INK, _font(12), anchor="lm")
        y += 20


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
