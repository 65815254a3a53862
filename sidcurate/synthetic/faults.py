"""The faults that can be planted, at least one for each rule that a DNG can trip.

A fault is a function from a shot, a strength and a generator to the faulty shot. Its name names the fault, its
docstring says what happened, its decorator holds the code of the rule that should find it and the frames concerned.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from math import isqrt
from typing import Any, Literal, TypeAlias

import numpy as np

from sidcurate.errors import UsageError
from sidcurate.exposure import seconds_in_name
from sidcurate.synthetic.scenes import MARGIN_PX
from sidcurate.synthetic.sensor import NOMINAL_LONG_S
from sidcurate.synthetic.shots import Damage, DamageKind, Shot, sid_name

Change: TypeAlias = Callable[[Shot, float, np.random.Generator], Shot]
Frames: TypeAlias = Literal["short", "long", "both"]


@dataclass(frozen=True)
class Strength:
    """How strong a fault can be: the default, the bounds, and what the number means."""

    default: float
    low: float
    high: float
    meaning: str


@dataclass(frozen=True)
class Fault:
    """A fault that can be planted: the rule that should find it, the frames that carry it, what happened."""

    name: str
    code: str
    frames: Frames
    text: str
    change: Change
    strength: Strength | None


FAULTS: dict[str, Fault] = {}


def _fault(code: str, frames: Frames, strength: Strength | None = None) -> Callable[[Change], Change]:
    def enter(change: Change) -> Change:
        name = change.__name__.replace("_", "-")
        FAULTS[name] = Fault(name, code, frames, (change.__doc__ or "").strip(), change, strength)
        return change

    return enter


def _share(default: float) -> Strength:
    return Strength(default, 0.001, 0.9, "share of the frame")


def _dn14(default: float, low: float, high: float) -> Strength:
    return Strength(default, low, high, "14-bit DN")


def _factor(default: float, low: float, high: float, of: str) -> Strength:
    return Strength(default, low, high, f"factor on the {of}")


def _tags(shot: Shot, **values: Any) -> Shot:  # noqa: ANN401 - each tag has its own type
    return replace(shot, tags=replace(shot.tags, **values))


def _settings(shot: Shot, **values: Any) -> Shot:  # noqa: ANN401 - each setting has its own type
    return _tags(replace(shot, settings=replace(shot.settings, **values)), **values)


def _light(shot: Shot, **values: Any) -> Shot:  # noqa: ANN401 - each value has its own type
    return replace(shot, light=replace(shot.light, **values))


def _damaged(shot: Shot, kind: DamageKind, share: float) -> Shot:
    return replace(shot, damage=Damage(kind, share))


def _fraction(value: float) -> Fraction:
    return Fraction(value).limit_denominator(1000)


def _named_for(shot: Shot, time_s: Fraction) -> Shot:
    """Return the shot with a time in its name, where its name states one."""
    stated = seconds_in_name(shot.name.removesuffix(".dng"))
    return replace(shot, name=sid_name(shot.scene, shot.burst_index, time_s)) if stated else shot


def _whole_dn(shot: Shot, dn14: float) -> int:
    """Return a difference in 14-bit DN as whole DN of the body, at least 1."""
    return int(np.sign(dn14)) * max(1, round(abs(dn14) * shot.body.dn_per_dn14))


@_fault("CAP101", "short")
def unreadable_file(shot: Shot, strength: float, rng: np.random.Generator) -> Shot:
    """The file ends within its header."""
    return _damaged(shot, "truncated-header", 1.0)


@_fault("CAP102", "short", _share(0.2))
def zero_tail(shot: Shot, share: float, rng: np.random.Generator) -> Shot:
    """The last rows are zero."""
    return _damaged(shot, "zero-tail", share)


@_fault("CAP102", "short", _share(0.1))
def zero_run(shot: Shot, share: float, rng: np.random.Generator) -> Shot:
    """A run of sites is zero."""
    return _damaged(shot, "zero-run", share)


@_fault("CAP102", "short", _share(0.2))
def repeated_rows(shot: Shot, share: float, rng: np.random.Generator) -> Shot:
    """The last rows repeat two of them."""
    return _damaged(shot, "repeated-rows", share)


@_fault("CAP102", "short", _share(0.2))
def constant_rows(shot: Shot, share: float, rng: np.random.Generator) -> Shot:
    """The last rows hold one value."""
    return _damaged(shot, "constant-rows", share)


@_fault("CAP102", "short", _share(0.1))
def random_bytes(shot: Shot, share: float, rng: np.random.Generator) -> Shot:
    """A run of sites is random."""
    return _damaged(shot, "random-bytes", share)


@_fault("CAP101", "short", _share(0.3))
def truncated_pixels(shot: Shot, share: float, rng: np.random.Generator) -> Shot:
    """The end of the file is gone."""
    return _damaged(shot, "truncated-pixels", share)


@_fault("CAP103", "short")
def duplicate_file(shot: Shot, strength: float, rng: np.random.Generator) -> Shot:
    """The same bytes stand under a second name."""
    return replace(shot, copy_as=f"{shot.name.removesuffix('.dng')}-copy.dng")


@_fault("CAP104", "both")
def linear_dng(shot: Shot, strength: float, rng: np.random.Generator) -> Shot:
    """The files are demosaiced."""
    return _tags(shot, cfa=None)


@_fault("CAP105", "short", _factor(3, 0.01, 100, "time outside the Exif block"))
def reader_disagreement(shot: Shot, factor: float, rng: np.random.Generator) -> Shot:
    """The header states two exposure times."""
    return _tags(shot, ifd0_exposure_time_s=shot.settings.exposure_time_s * _fraction(factor))


@_fault("CAP106", "both")
def foreign_body(shot: Shot, strength: float, rng: np.random.Generator) -> Shot:
    """The scene is shot with a second body of the same model."""
    serial = f"{shot.body.serial}-second"
    return _tags(replace(shot, body=replace(shot.body, serial=serial)), serial=serial)


@_fault("CAP111", "short")
def exposure_zero(shot: Shot, strength: float, rng: np.random.Generator) -> Shot:
    """The header's exposure time is 0/1."""
    return _tags(shot, exposure_time_s=(0, 1))


@_fault("CAP111", "short")
def exposure_infinite(shot: Shot, strength: float, rng: np.random.Generator) -> Shot:
    """The header's exposure time is 1/0."""
    return _tags(shot, exposure_time_s=(1, 0))


@_fault("CAP111", "short")
def exposure_undefined(shot: Shot, strength: float, rng: np.random.Generator) -> Shot:
    """The header's exposure time is 0/0."""
    return _tags(shot, exposure_time_s=(0, 0))


@_fault("CAP112", "short", _factor(2.5, 0.01, 100, "time in the name"))
def wrong_name(shot: Shot, factor: float, rng: np.random.Generator) -> Shot:
    """The file name states another exposure time than the header."""
    renamed = _named_for(shot, shot.settings.exposure_time_s * _fraction(factor))
    if renamed is shot:
        raise UsageError("fault wrong-name needs names that state an exposure time: add --names sid")
    return renamed


@_fault("CAP113", "short")
def iso_zero(shot: Shot, strength: float, rng: np.random.Generator) -> Shot:
    """The header's ISO is 0."""
    return _tags(shot, iso=0)


@_fault("CAP121", "both", _dn14(256, -8192, 8192))
def wrong_black_tag(shot: Shot, dn14: float, rng: np.random.Generator) -> Shot:
    """The header's black is off."""
    return _tags(shot, black_level=(float(max(0, shot.body.black_level + _whole_dn(shot, dn14))),))


@_fault("CAP122", "both", _factor(0.7, 0.2, 4, "white"))
def wrong_white_tag(shot: Shot, factor: float, rng: np.random.Generator) -> Shot:
    """The header's white is off."""
    return _tags(shot, white_level=round(shot.body.white_level * factor))


@_fault("CAP123", "long", Strength(2, 1, 8, "bits"))
def bit_depth_drop(shot: Shot, bits: float, rng: np.random.Generator) -> Shot:
    """The lowest bits are always 0."""
    return replace(shot, readout=replace(shot.readout, bits_dropped=int(bits)))


@_fault("PAIR201", "short", Strength(33, 1, 10000, "long over short time"))
def wrong_ratio(shot: Shot, ratio: float, rng: np.random.Generator) -> Shot:
    """The short frame is exposed at another ratio, and says so."""
    time_s = NOMINAL_LONG_S / _fraction(ratio)
    return _named_for(_settings(shot, exposure_time_s=time_s), time_s)


@_fault("PAIR202", "short", _factor(2, 0.1, 16, "ISO"))
def iso_changed(shot: Shot, factor: float, rng: np.random.Generator) -> Shot:
    """Another ISO, in header and gain."""
    return _settings(shot, iso=round(shot.settings.iso * factor))


@_fault("PAIR203", "short", _factor(1.4, 0.25, 4, "f-number"))
def aperture_changed(shot: Shot, factor: float, rng: np.random.Generator) -> Shot:
    """Another aperture, in header and light."""
    return _settings(shot, f_number=(shot.settings.f_number * _fraction(factor)).limit_denominator(10))


@_fault("PAIR204", "short", _factor(1.2, 0.1, 10, "focal length"))
def focal_length_changed(shot: Shot, factor: float, rng: np.random.Generator) -> Shot:
    """Another focal length in the header; the picture stays."""
    return _tags(shot, focal_length_mm=(shot.body.focal_length_mm * _fraction(factor)).limit_denominator(10))


@_fault("PAIR205", "short")
def body_changed(shot: Shot, strength: float, rng: np.random.Generator) -> Shot:
    """The short frame is shot with a second body of the same model."""
    return foreign_body(shot, strength, rng)


@_fault("PAIR206", "long")
def portrait(shot: Shot, strength: float, rng: np.random.Generator) -> Shot:
    """The header says that the camera was turned."""
    return _tags(shot, orientation=6)


@_fault("PAIR206", "short")
def phase_changed(shot: Shot, strength: float, rng: np.random.Generator) -> Shot:
    """The filter array starts one column later."""
    if shot.tags.cfa is None:
        raise UsageError(f"fault phase-changed needs a mosaic, and {shot.body.slug} writes linear DNG: leave it out")
    letters, side = shot.tags.cfa, isqrt(len(shot.tags.cfa))
    rows = (letters[start : start + side] for start in range(0, len(letters), side))
    return _tags(shot, cfa="".join(row[1:] + row[0] for row in rows))


@_fault("PAIR206", "short", Strength(0.05, 0.001, 0.5, "share of the rows"))
def size_changed(shot: Shot, share: float, rng: np.random.Generator) -> Shot:
    """Rows are missing at the bottom."""
    return replace(shot, readout=replace(shot.readout, rows_cut=share))


@_fault("PAIR207", "short", _dn14(64, 1, 4096))
def level_tag_changed(shot: Shot, dn14: float, rng: np.random.Generator) -> Shot:
    """The header's white is lower than the long frame's."""
    return _tags(shot, white_level=shot.body.white_level - _whole_dn(shot, dn14))


@_fault("PAIR211", "short", _factor(1.5, 0.05, 20, "light"))
def hidden_gain(shot: Shot, factor: float, rng: np.random.Generator) -> Shot:
    """The frame is brighter than its header promises."""
    return _light(shot, gain=factor)


@_fault("PAIR212", "both", _dn14(8, -200, 200))
def black_off(shot: Shot, dn14: float, rng: np.random.Generator) -> Shot:
    """The true zero is not the header's black."""
    return replace(shot, readout=replace(shot.readout, zero_dn14=dn14))


@_fault("PAIR213", "short", Strength(0.3, -1.9, 1.9, "change from left to right"))
def light_changed(shot: Shot, share: float, rng: np.random.Generator) -> Shot:
    """The gain differs across the frame."""
    return _light(shot, gradient=share)


@_fault("PAIR221", "long", Strength(6, 0.05, MARGIN_PX, "px, in a seeded direction"))
def shifted(shot: Shot, distance_px: float, rng: np.random.Generator) -> Shot:
    """The tripod was touched."""
    angle = rng.uniform(0, 2 * np.pi)
    return _light(shot, shift_px=(float(distance_px * np.sin(angle)), float(distance_px * np.cos(angle))))


@_fault("PAIR222", "short", _share(0.1))
def scene_moved(shot: Shot, share: float, rng: np.random.Generator) -> Shot:
    """Something in the picture moved."""
    return _light(shot, moved_fraction=share)


@_fault("PAIR223", "short")
def other_scene(shot: Shot, strength: float, rng: np.random.Generator) -> Shot:
    """The frame shows another scene."""
    return _light(shot, other_scene=True)


@_fault("PAIR224", "long", Strength(4, 0.1, 20, "px of Gaussian blur"))
def defocused(shot: Shot, sigma_px: float, rng: np.random.Generator) -> Shot:
    """The focus is off."""
    return _light(shot, blur_px=sigma_px)


@_fault("PAIR231", "both", _share(0.2))
def overexposed(shot: Shot, share: float, rng: np.random.Generator) -> Shot:
    """Bright light: this share of the long frame's sites clips."""
    return _light(shot, clipped_fraction=share)


@_fault("PAIR232", "short")
def lens_cap(shot: Shot, strength: float, rng: np.random.Generator) -> Shot:
    """No light reaches the sensor."""
    return _light(shot, gain=0.0)


@_fault("SET301", "short")
def unpaired(shot: Shot, strength: float, rng: np.random.Generator) -> Shot:
    """The frame is missing."""
    return replace(shot, written=False)
