"""PAIR201 to PAIR207: rules about what the headers of two frames of one scene say."""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import reduce
from itertools import compress
from operator import and_, or_
from typing import TYPE_CHECKING, Any

from sidcurate.exposure import exposure_ratio, format_seconds
from sidcurate.rules.contract import Answers, Draft, Fault, Skip, rule
from sidcurate.rules.figures import (
    apart,
    differ_by_more,
    exact,
    levels_in_words,
    outside,
    percent,
    relative_difference,
    unknown,
)
from sidcurate.rules.limits import Limits
from sidcurate.rules.views import Pairs, PairView
from sidcurate.schemas import Capture

if TYPE_CHECKING:
    from sidcurate.tables.columns import Column, Where

# Shutter times that cameras offer, in thirds of a stop, as their dials name them.
_DIAL = (
    "1/8000 1/6400 1/5000 1/4000 1/3200 1/2500 1/2000 1/1600 1/1250 1/1000 1/800 1/640 1/500 1/400 1/320 1/250 1/200 "
    "1/160 1/125 1/100 1/80 1/60 1/50 1/40 1/30 1/25 1/20 1/15 1/13 1/10 1/8 1/6 1/5 1/4 0.3 0.4 0.5 0.6 0.8 1 1.3 1.6 "
    "2 2.5 3.2 4 5 6 8 10 13 15 20 25 30"
)
# Facts whose name is no word of a photographer's.
_NAMES = {"cfa": "color filters", "cfa_kind": "kind of color filters", "bits_declared": "declared bits"}
SHUTTER_TIMES = tuple(map(Fraction, _DIAL.split()))


def _exposure(capture: Capture) -> Fraction:
    return Fraction(capture.exposure_num or 0, capture.exposure_den or 1)


@rule(
    "PAIR201",
    "exposure-ratio-outside-range",
    "error",
    requires=("CAP111",),
    limit="{exposure_ratio_low:g}-{exposure_ratio_high:g}×, ±{exposure_ratio_tolerance:.0%}",
)
def ratio_outside_range(pairs: Pairs, limits: Limits) -> Answers:
    """The exposure times of long and short have a ratio outside the range that the network is made for.

    Why: below the range the short frame is hardly dark and teaches nothing; above it, it holds less signal than the
    network has ever been shown. Two whole campaigns on new cameras were spoiled this way.
    How: t_long / t_short as exact rationals of the nominal times in the headers, never of the names, with a relative
    tolerance at both ends (SID's own names, 10 s and 0.033 s, give 303.03).
    Cure: shoot the short frame again with a time inside the range; the message says which.
    """
    short, long = pairs.short, pairs.long
    times = (long.exposure_num, long.exposure_den, short.exposure_num, short.exposure_den)
    yield Skip("an exposure time is unknown", unknown(*times))

    def exactly(row: int) -> Fraction:
        long_num, long_den, short_num, short_den = (time[row] for time in times)
        return exposure_ratio(Fraction(long_num, long_den), Fraction(short_num, short_den))

    ratio = (long.exposure_num / long.exposure_den) / (short.exposure_num / short.exposure_den)
    tolerance = exact(limits.exposure_ratio_tolerance)
    low, high = exact(limits.exposure_ratio_low) * (1 - tolerance), exact(limits.exposure_ratio_high) * (1 + tolerance)
    yield Fault(outside(ratio, low, high, exactly), _ratio_outside_range)


def _ratio_outside_range(pair: PairView, limits: Limits) -> Draft:
    short_s, long_s = _exposure(pair.short), _exposure(pair.long)
    ratio = exposure_ratio(long_s, short_s)
    low, high = exact(limits.exposure_ratio_low), exact(limits.exposure_ratio_high)
    shown = f"{float(ratio):,.0f}" if ratio >= 1000 else f"{float(ratio):.4g}"
    times = f"{format_seconds(long_s)} / {format_seconds(short_s)}"
    allowed = f"{float(low):g}-{float(high):g}× (±{percent(limits.exposure_ratio_tolerance)})"
    return Draft(
        f"exposure ratio {shown}× ({times}), allowed {allowed}; {_advice(short_s, long_s, low, high)}",
        measured=float(ratio),
        limit_low=limits.exposure_ratio_low,
        limit_high=limits.exposure_ratio_high,
        unit="×",
    )


def _advice(short_s: Fraction, long_s: Fraction, low: Fraction, high: Fraction) -> str:
    """Return which short exposure fits the long one, in times that a camera offers where there are any."""
    if long_s / low < SHUTTER_TIMES[0]:
        needed = SHUTTER_TIMES[0] * low
        longer = next((time for time in SHUTTER_TIMES if time >= needed), needed)
        return f"no camera has a time that much shorter: shoot the long frame at {format_seconds(longer)} or longer"
    fitting = [time for time in SHUTTER_TIMES if long_s / high <= time <= long_s / low]
    bounds = fitting or [long_s / high, long_s / low]
    shortest, longest = format_seconds(bounds[0]), format_seconds(bounds[-1])
    if shortest == longest:
        return f"shoot the short frame at {shortest}"
    if short_s > long_s / low:
        return f"shoot the short frame at {longest} or shorter, down to {shortest}"
    return f"shoot the short frame at {shortest} or longer, up to {longest}"


@rule("PAIR202", "iso-mismatch", "error", requires=("CAP113",), limit="equal")
def iso_mismatch(pairs: Pairs, limits: Limits) -> Answers:
    """The two frames have different ISO.

    Why: the ratio of light is then not the ratio of times, and black level and noise differ too.
    How: the two numbers must be equal.
    Cure: shoot with ISO fixed by hand; "auto ISO" changes it between the frames.
    """
    short, long = pairs.short.iso, pairs.long.iso
    yield Skip("an ISO is unknown", unknown(short, long))
    yield Fault(short.differs_from(long), _iso_mismatch)


def _iso_mismatch(pair: PairView, limits: Limits) -> Draft:
    short, long = pair.short.iso, pair.long.iso
    return Draft(
        f"short at ISO {short}, long at ISO {long}, they must be equal; switch auto ISO off and shoot again",
        measured=short,
        limit_low=long,
        limit_high=long,
        unit="ISO",
    )


@rule("PAIR203", "aperture-mismatch", "error", requires=("CAP101",), limit="equal")
def aperture_mismatch(pairs: Pairs, limits: Limits) -> Answers:
    """The two frames have different f-numbers.

    Why: the light differs by more than the exposure time, and so do sharpness and depth of field.
    How: the two numbers must be equal. A lens without contacts writes none: then nothing is judged.
    Cure: shoot in manual mode with the aperture fixed.
    """
    short, long = pairs.short.f_number, pairs.long.f_number
    yield Skip("an aperture is unknown", unknown(short, long))
    yield Fault(short.differs_from(long), _aperture_mismatch)


def _aperture_mismatch(pair: PairView, limits: Limits) -> Draft:
    short, long = pair.short.f_number, pair.long.f_number
    return Draft(
        f"short at f/{short:g}, long at f/{long:g}, they must be equal; fix the aperture in manual mode and shoot "
        "the pair again",
        measured=short,
        limit_low=long,
        limit_high=long,
        unit="f-number",
    )


@rule("PAIR204", "focal-length-mismatch", "error", requires=("CAP101",), limit="{focal_length_difference:.0%}")
def focal_length_mismatch(pairs: Pairs, limits: Limits) -> Answers:
    """The two frames have different focal lengths.

    Why: the pictures have different scales and do not lie on each other.
    How: larger / smaller - 1; some lenses write a focal length that breathes a little with focus.
    Cure: do not touch the zoom between the frames; tape the ring.
    """
    short, long = pairs.short.focal_length_mm, pairs.long.focal_length_mm
    yield Skip("a focal length is unknown", unknown(short, long))
    yield Fault(differ_by_more(short, long, limits.focal_length_difference), _focal_length_mismatch)


def _focal_length_mismatch(pair: PairView, limits: Limits) -> Draft:
    short, long = pair.short.focal_length_mm or 0, pair.long.focal_length_mm or 0
    difference = relative_difference(short, long)
    return Draft(
        f"short at {short:g} mm, long at {long:g} mm: {apart(difference)}, allowed "
        f"{percent(limits.focal_length_difference)}; tape the zoom ring and shoot the pair again",
        measured=float(difference),
        limit_high=limits.focal_length_difference,
        unit="relative difference",
    )


@rule("PAIR205", "body-mismatch", "error", requires=("CAP101",))
def body_mismatch(pairs: Pairs, limits: Limits) -> Answers:
    """The two frames come from different bodies or lenses.

    Why: they cannot show the same scene from the same place, and fixed pattern, black and color differ.
    How: make, model, serial number and lens, where both frames tell them. A frame of a foreign body is also named by
    CAP106, which looks at the whole device; this rule looks at the pair.
    Cure: correct the pairing (`sidcurate pair --pairs`), or shoot the pair again with one camera.
    """
    facts = ("camera_make", "camera_model", "camera_serial", "lens_model")
    yield Skip("nothing is known of the bodies", _untold(pairs, facts))
    yield _differences(_differing(pairs, facts), _body_mismatch)


def _body_mismatch(pair: PairView, limits: Limits, differences: str) -> Draft:
    return Draft(
        f"the frames come from different cameras or lenses: {differences}; pair frames of one camera, or shoot the "
        "pair again"
    )


@rule("PAIR206", "geometry-mismatch", "error", requires=("CAP104",))
def geometry_mismatch(pairs: Pairs, limits: Limits) -> Answers:
    """Size, CFA phase or orientation differ between the two frames.

    Why: sites of the two mosaics then do not belong together: one frame is turned, cropped or starts at another color.
    How: width, height, kind and letters of the color filter array and the Exif orientation must be equal, where both
    frames tell them.
    Cure: shoot both in the same position with the same crop; switch automatic rotation off when the camera looks down.
    """
    facts = ("width", "height", "cfa_kind", "cfa", "orientation")
    yield Skip("nothing is known of the geometry", _untold(pairs, facts))
    yield _differences(_differing(pairs, facts), _geometry_mismatch)


def _geometry_mismatch(pair: PairView, limits: Limits, differences: str) -> Draft:
    return Draft(
        f"the frames do not have the same geometry: {differences}; shoot both in one position with one crop setting"
    )


def _untold(pairs: Pairs, facts: Sequence[str]) -> "Where":
    """Return the pairs of which no fact is known of both frames."""
    return reduce(and_, (unknown(getattr(pairs.short, fact), getattr(pairs.long, fact)) for fact in facts))


def _differing(pairs: Pairs, facts: Sequence[str]) -> "dict[str, Where]":
    """Return, by fact, the pairs whose frames both tell it and differ in it."""
    return {fact: getattr(pairs.short, fact).differs_from(getattr(pairs.long, fact)) for fact in facts}


def _differences(differing: "Mapping[str, Where]", words: Callable[..., Draft], *figures: "Column") -> Fault:
    """Return the fault of the pairs that differ in any fact, worded with a list of those facts."""

    def in_words(pair: PairView, limits: Limits, *differs: Any) -> Draft:  # noqa: ANN401 - truth values, then figures
        told = (_in_words(pair, fact) for fact in compress(differing, differs))
        return words(pair, limits, "; ".join(told), *differs[len(differing) :])

    return Fault(reduce(or_, differing.values()), in_words, [*differing.values(), *figures])


@rule(
    "PAIR207",
    "level-mismatch",
    "warning",
    requires=("CAP121", "PAIR206"),
    limit="black {black_difference_dn:g} DN, others equal",
)
def level_mismatch(pairs: Pairs, limits: Limits) -> Answers:
    """The declared black level, white level or bits differ between the two frames.

    Why: a camera that changes its levels within a pair has changed a mode: bit depth, gain or compression.
    How: black by CFA position with a small allowance for rounding; white and bits must be equal.
    Cure: use the same shutter type, drive mode and compression for both frames. Levels are applied frame by frame, so
    the pair can be used if the levels themselves are right.
    """
    short, long = pairs.short.black_level, pairs.long.black_level
    yield Skip("a black level is unknown", unknown(short, long))
    gap = abs(short - long).largest().or_else(0.0)
    differing = {"black_level": gap > limits.black_difference_dn, **_differing(pairs, ("white_level", "bits_declared"))}
    yield _differences(differing, _level_mismatch, gap)


def _level_mismatch(pair: PairView, limits: Limits, differences: str, gap: float) -> Draft:
    return Draft(
        f"the levels differ: {differences}; allowed is {limits.black_difference_dn:g} DN of black, nothing else; "
        "use one shutter type, drive mode and compression for both frames",
        measured=gap,
        limit_high=limits.black_difference_dn,
        unit="DN of black",
    )


def _in_words(pair: PairView, fact: str) -> str:
    short, long = (_value_in_words(getattr(frame, fact)) for frame in (pair.short, pair.long))
    return f"{_NAMES.get(fact) or fact.replace('_', ' ')} {short} (short), {long} (long)"


def _value_in_words(value: object) -> str:
    return levels_in_words(value) if isinstance(value, tuple) else str(value)
