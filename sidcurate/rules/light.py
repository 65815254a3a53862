"""PAIR211 to PAIR213, PAIR231 and PAIR232: rules about the light that the pixels of two frames show.

A limit counts as exceeded when it is by `confidence_se` standard errors of the fact.
"""

from collections.abc import Iterator
from typing import NamedTuple

from sidcurate.exposure import light
from sidcurate.rules.contract import Answers, Draft, PairView, Skip, rule
from sidcurate.rules.figures import percent, site_name, uncertain
from sidcurate.rules.limits import Limits
from sidcurate.schemas import Capture, Severity

UNTOLD = "the pixels cannot tell"


class Measured(NamedTuple):
    """A fact and its standard error."""

    value: float
    se: float

    @classmethod
    def of(cls, value: float | None, se: float | None) -> "Measured | None":
        """Return the fact, None where the pixels could not tell."""
        return None if value is None or se is None else cls(value, se)

    def __str__(self) -> str:
        """Return the fact and its error in words."""
        return uncertain(self.value, self.se)

    @property
    def in_percent(self) -> str:
        """The fact, which is a share, in percent."""
        return f"{uncertain(100 * self.value, 100 * self.se)} %"

    def least(self, limits: Limits) -> float:
        """Return the smallest value that is not beyond doubt too small: the fact less its counted errors."""
        return self.value - limits.confidence_se * self.se

    def most(self, limits: Limits) -> float:
        """Return the largest value that is not beyond doubt too large: the fact and its counted errors."""
        return self.value + limits.confidence_se * self.se


@rule("PAIR232", "short-without-signal", "error", requires=("CAP102", "PAIR206"), limit="{signal_se:g} standard errors")
def short_without_signal(view: PairView, limits: Limits) -> Answers:
    """Nothing in the short frame correlates with the long one above noise, though the long one has content.

    Why: there is nothing to learn from a black frame: a lens cap, a flash that the long frame had, a failed exposure.
    How: the likeness of the two frames, over all places that one could lie on the other, in standard errors of what
    noise alone gives.
    Cure: look at the short frame; shoot it again, longer or at higher ISO for both frames.
    """
    signal = view.pair.signal
    if signal is None:
        yield Skip(UNTOLD)
    elif signal < limits.signal_se:
        yield Draft(
            f"nothing of the long frame shows in the short one: its likeness is {signal:.1f} standard errors above "
            f"noise, {limits.signal_se:g} are needed. Was the lens cap on? Look at it, and shoot the short frame "
            "again, or both at higher ISO",
            measured=signal,
            limit_low=limits.signal_se,
            unit="standard errors",
        )


@rule("PAIR211", "light-contradicts-exposure", "error", requires=("PAIR213", "CAP111"), limit="{light_error:.0%}")
def light_contradicts_exposure(view: PairView, limits: Limits) -> Answers:
    """The ratio of light that the pixels show is not what the settings of the two frames promise.

    Why: training multiplies the short frame by the promised ratio: a wrong one teaches a wrong brightness.
    How: light of long over light of short, fitted over the whole frame after aligning, against t·ISO/N² of the two
    headers (ISO and N count as equal where a header does not tell them).
    Cure: look for auto ISO, a hidden gain, an ND filter, aperture drift or an edited exposure time; shoot again with
    everything fixed by hand. Where only the header is wrong, set the real times: `sidcurate ingest --times`.
    """
    measured = Measured.of(view.pair.measured_ratio, view.pair.measured_ratio_se)
    promised = _promised_ratio(view.short, view.long)
    if promised is None or measured is None or measured.value <= 0:
        yield Skip(UNTOLD if promised else "an exposure time is unknown")
        return
    low, high = promised / (1 + limits.light_error), promised * (1 + limits.light_error)
    if measured.most(limits) >= low and measured.least(limits) <= high:
        return
    yield Draft(
        f"the settings promise {promised:.4g}×, the light says {measured}×, allowed {low:.4g}-{high:.4g}×: the short "
        f"frame is {_off(measured.value / promised)} than its settings say. Auto ISO, an ND filter, an edited "
        "exposure time? Fix every setting by hand and shoot the pair again; or, if only the header is wrong, set "
        "the real times with `sidcurate ingest --times`",
        measured=measured.value,
        limit_low=low,
        limit_high=high,
        unit="×",
    )


def _promised_ratio(short: Capture, long: Capture) -> float | None:
    if short.exposure_time_s is None or long.exposure_time_s is None:
        return None
    iso = (short.iso, long.iso) if short.iso and long.iso else (1, 1)
    f_number = (short.f_number, long.f_number) if short.f_number and long.f_number else (1.0, 1.0)
    return light(long.exposure_time_s, iso[1], f_number[1]) / light(short.exposure_time_s, iso[0], f_number[0])


def _off(relative: float) -> str:
    """Return how the short frame differs from its settings, given the measured over the promised ratio."""
    factor = max(relative, 1 / relative)
    change = "darker" if relative > 1 else "brighter"
    return f"{factor:.3g} times {change}" if factor >= 2 else f"{percent(factor - 1)} {change}"


@rule(
    "PAIR212",
    "black-level-off",
    "warning",
    requires=("PAIR213", "CAP121"),
    limit="{zero_error_warned:.0%}, error above {zero_error:.0%}, of the white range after amplification",
)
def black_level_off(view: PairView, limits: Limits) -> Answers:
    """The zero of the short frame, measured from the pair, is not its declared black.

    Why: at ratio 300 one DN becomes 300: a color cast, or a veil. Real bodies do it at high gain, and no re-shoot
    cures that.
    How: zero and ratio are fitted together, by CFA position; the error times the exposure ratio as a share of the
    white range.
    Cure: train with the measured zero; if it is far off, see whether the raw converter changed the black level tag.
    """
    zeros = list(_zeros(view))
    if not zeros:
        yield Skip(UNTOLD if view.pair.zero_error_dn is None else "levels or exposure ratio are unknown")
        return
    worst = max(zeros, key=lambda zero: zero.share.least(limits))
    if worst.share.least(limits) <= limits.zero_error_warned:
        return
    severity: Severity = "error" if worst.share.least(limits) > limits.zero_error else "warning"
    allowed = limits.zero_error if severity == "error" else limits.zero_error_warned
    yield Draft(
        f"the true zero of {worst.site} is {worst.error} DN {worst.side} the declared black {worst.black:g}: "
        f"{worst.share.in_percent} of the white range after amplification, allowed {percent(allowed)}; "
        f"{_CURE[severity]}",
        measured=worst.share.value,
        limit_high=allowed,
        unit="share of the white range",
        severity=severity,
    )


_CURE = {
    "warning": "no re-shoot cures that: train with the measured zero",
    "error": "find the black with a lens-cap frame, and see whether a converter changed the tag",
}


class _Zero(NamedTuple):
    site: str
    black: float
    side: str
    error: Measured
    share: Measured


def _zeros(view: PairView) -> Iterator[_Zero]:
    """Yield the zero of each CFA position; none where a fact is missing or is not of the same positions."""
    pair, short = view.pair, view.short
    facts = (pair.zero_error_dn, pair.zero_error_se_dn, short.black_level, short.white_level)
    if pair.exposure_ratio is None or len({values and len(values) for values in facts}) > 1:
        return
    for position, (error, se, black, white) in enumerate(zip(*(values or () for values in facts), strict=True)):
        if white > black:
            off = Measured(abs(error), se)
            amplified = pair.exposure_ratio / (white - black)
            share = Measured(off.value * amplified, off.se * amplified)
            yield _Zero(site_name(short.cfa, position), black, "above" if error > 0 else "below", off, share)


@rule("PAIR213", "light-changed", "error", requires=("PAIR223",), limit="{gain_departure:.0%}")
def light_changed(view: PairView, limits: Limits) -> Answers:
    """The gain from the short to the long frame differs across the picture, or from dark to bright.

    Why: a lamp went on, a cloud passed, a tube flickered: the long frame then is no truth for the short one.
    How: change of the gain along its steepest direction, and from dark to bright, as a share of the gain.
    Cure: shoot again in steady light; avoid dusk, traffic and lamps that flicker.
    """
    facts = {
        "across the frame": Measured.of(view.pair.gain_departure, view.pair.gain_departure_se),
        "from dark to bright": Measured.of(view.pair.nonlinearity, view.pair.nonlinearity_se),
    }
    changes = {where: Measured(abs(fact.value), fact.se) for where, fact in facts.items() if fact}
    if not changes:
        yield Skip(UNTOLD)
        return
    where, worst = max(changes.items(), key=lambda change: change[1].least(limits))
    if worst.least(limits) > limits.gain_departure:
        yield Draft(
            f"the light changed between the frames: the gain differs by {worst.in_percent} {where}, allowed "
            f"{percent(limits.gain_departure)}; shoot the pair again in steady light",
            measured=worst.value,
            limit_high=limits.gain_departure,
            unit="share of the gain",
        )


@rule("PAIR231", "long-clipped", "warning", requires=("CAP101", "CAP122"), limit="{long_clipped:.0%}")
def long_clipped(view: PairView, limits: Limits) -> Answers:
    """Sites of the long frame are at white, counted by channel.

    Why: what is clipped in the target cannot be learned, and gets a color cast where one channel clips first.
    How: the share of sites at or above the declared white, by CFA position; the largest counts.
    Cure: shoot the long frame shorter (and the short one with it), or keep lamps out of the picture.
    """
    shares = view.long.clipped_by_cfa
    if not shares:
        yield Skip("the clipped share is unknown")
        return
    worst = max(shares)
    if worst > limits.long_clipped:
        yield Draft(
            f"{percent(worst)} of the sites of {site_name(view.long.cfa, shares.index(worst))} are at white in the "
            f"long frame, allowed {percent(limits.long_clipped)}; shoot both frames shorter, or keep lamps out of the "
            "picture",
            measured=worst,
            limit_high=limits.long_clipped,
            unit="share of sites",
        )
