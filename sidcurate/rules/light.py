"""PAIR211 to PAIR213, PAIR231 and PAIR232: rules about the light that the pixels of two frames show.

A limit counts as exceeded when it is by `confidence_se` standard errors of the fact.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

from sidcurate.exposure import light
from sidcurate.rules.contract import Answers, Draft, Fault, Skip, rule
from sidcurate.rules.figures import percent, site_name, uncertain, unknown
from sidcurate.rules.limits import Limits
from sidcurate.rules.views import Pairs, PairView
from sidcurate.schemas import Capture, Severity

if TYPE_CHECKING:
    from sidcurate.tables.columns import Column
    from sidcurate.tables.rows import Rows

UNTOLD = "the pixels cannot tell"


class Measured(NamedTuple):
    """A fact and its standard error: of one pair as numbers, of many as columns."""

    value: Any
    se: Any

    def __str__(self) -> str:
        """Return the fact and its error in words."""
        return uncertain(self.value, self.se)

    @property
    def in_percent(self) -> str:
        """The fact, which is a share, in percent."""
        return f"{uncertain(100 * self.value, 100 * self.se)} %"

    def least(self, limits: Limits) -> Any:  # noqa: ANN401 - as the fields are
        """Return the smallest value that is not beyond doubt too small: the fact less its counted errors."""
        return self.value - limits.confidence_se * self.se

    def most(self, limits: Limits) -> Any:  # noqa: ANN401
        """Return the largest value that is not beyond doubt too large: the fact and its counted errors."""
        return self.value + limits.confidence_se * self.se


@rule("PAIR232", "short-without-signal", "error", requires=("CAP102", "PAIR206"), limit="{signal_se:g} standard errors")
def short_without_signal(pairs: Pairs, limits: Limits) -> Answers:
    """Nothing in the short frame correlates with the long one above noise, though the long one has content.

    Why: there is nothing to learn from a black frame: a lens cap, a flash that the long frame had, a failed exposure.
    How: the likeness of the two frames, over all places that one could lie on the other, in standard errors of what
    noise alone gives.
    Cure: look at the short frame; shoot it again, longer or at higher ISO for both frames.
    """
    unmeasured = pairs.unmeasured_reason
    for reason in sorted(set(unmeasured.known_values())):
        yield Skip(reason, unmeasured.equals(reason))
    yield Skip(UNTOLD, pairs.signal.unknown)
    yield Fault(pairs.signal < limits.signal_se, _without_signal, [pairs.signal])


def _without_signal(pair: PairView, limits: Limits, signal: float) -> Draft:
    return Draft(
        f"nothing of the long frame shows in the short one: its likeness is {signal:.1f} standard errors above "
        f"noise, {limits.signal_se:g} are needed. Was the lens cap on? Look at it, and shoot the short frame "
        "again, or both at higher ISO",
        measured=signal,
        limit_low=limits.signal_se,
        unit="standard errors",
    )


@rule("PAIR211", "light-contradicts-exposure", "error", requires=("PAIR213", "CAP111"), limit="{light_error:.0%}")
def light_contradicts_exposure(pairs: Pairs, limits: Limits) -> Answers:
    """The ratio of light that the pixels show is not what the settings of the two frames promise.

    Why: training multiplies the short frame by the promised ratio: a wrong one teaches a wrong brightness.
    How: light of long over light of short, fitted over the whole frame after aligning, against t·ISO/N² of the two
    headers (ISO and N count as equal where a header does not tell them).
    Cure: look for auto ISO, a hidden gain, an ND filter, aperture drift or an edited exposure time; shoot again with
    everything fixed by hand. Where only the header is wrong, set the real times: `sidcurate ingest --times`.
    """
    measured = Measured(pairs.measured_ratio, pairs.measured_ratio_se)
    promised = _promised_ratio(pairs)
    yield Skip("an exposure time is unknown", promised.unknown)
    yield Skip(UNTOLD, unknown(*measured) | (measured.value <= 0))
    low, high = promised / (1 + limits.light_error), promised * (1 + limits.light_error)
    contradicts = (measured.most(limits) < low) | (measured.least(limits) > high)
    yield Fault(contradicts, _light_contradicts, [*measured, promised, low, high])


def _promised_ratio(pairs: Pairs) -> "Column":
    short, long = pairs.short, pairs.long
    iso_told, f_told = ~unknown(long.iso, short.iso), ~unknown(long.f_number, short.f_number)

    def light_of(frame: "Rows[Capture]") -> "Column":
        return light(frame.exposure_time_s, frame.iso.only(iso_told).or_else(1), frame.f_number.only(f_told).or_else(1))

    return light_of(long) / light_of(short)


def _light_contradicts(
    pair: PairView, limits: Limits, value: float, se: float, promised: float, low: float, high: float
) -> Draft:
    return Draft(
        f"the settings promise {promised:.4g}×, the light says {Measured(value, se)}×, allowed {low:.4g}-{high:.4g}×: "
        f"the short frame is {_off(value / promised)} than its settings say. Auto ISO, an ND filter, an edited "
        "exposure time? Fix every setting by hand and shoot the pair again; or, if only the header is wrong, set "
        "the real times with `sidcurate ingest --times`",
        measured=value,
        limit_low=low,
        limit_high=high,
        unit="×",
    )


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
def black_level_off(pairs: Pairs, limits: Limits) -> Answers:
    """The zero of the short frame, measured from the pair, is not its declared black.

    Why: at ratio 300 one DN becomes 300: a color cast, or a veil. Real bodies do it at high gain, and no re-shoot
    cures that.
    How: zero and ratio are fitted together, by CFA position; the error times the exposure ratio as a share of the
    white range.
    Cure: train with the measured zero (`levels = "measured"`, as in the recipe `device`); if it is far off, see whether
    the raw converter changed the black level tag.
    """
    error, share = zeros(pairs)
    yield Skip(UNTOLD, pairs.zero_error_dn.unknown)
    least = share.least(limits)
    yield Skip("levels or exposure ratio are unknown", least.unknown)
    worst = least.position_of_largest()
    off = least.at(worst) > limits.zero_error_warned
    yield Fault(off, _zero_off, [worst, *(fact.at(worst) for fact in (*error, *share))])


def zeros(pairs: Pairs) -> tuple[Measured, Measured]:
    """Return the zero by CFA position, in DN and as a share, unknown where the facts are not of the same positions."""
    zero = pairs.zero_error_dn
    facts = (pairs.zero_error_se_dn, pairs.short.black_level, pairs.short.white_level)
    se, black, white = (fact.fitting(zero) for fact in facts)
    span = white - black
    amplified = pairs.exposure_ratio / span.only(span > 0)
    return Measured(zero, se), Measured(abs(zero) * amplified, se * amplified)


def _zero_off(
    pair: PairView, limits: Limits, site: int, error: float, error_se: float, share: float, share_se: float
) -> Draft:
    amplified = Measured(share, share_se)
    severity: Severity = "error" if amplified.least(limits) > limits.zero_error else "warning"
    allowed = limits.zero_error if severity == "error" else limits.zero_error_warned
    black, side = (pair.short.black_level or ())[site], "above" if error > 0 else "below"
    return Draft(
        f"the true zero of {site_name(pair.short.cfa, site)} is {Measured(abs(error), error_se)} DN {side} the "
        f"declared black {black:g}: {amplified.in_percent} of the white range after amplification, allowed "
        f"{percent(allowed)}; {_CURE[severity]}",
        measured=share,
        limit_high=allowed,
        unit="share of the white range",
        severity=severity,
    )


_CURE = {
    "warning": "no re-shoot cures that: train with the measured zero, as the recipe `device` does",
    "error": "find the black with a lens-cap frame, and see whether a converter changed the tag",
}


@rule("PAIR213", "light-changed", "error", requires=("PAIR223",), limit="{gain_departure:.0%}")
def light_changed(pairs: Pairs, limits: Limits) -> Answers:
    """The gain from the short to the long frame differs across the picture, or from dark to bright.

    Why: a lamp went on, a cloud passed, a tube flickered: the long frame then is no truth for the short one. Where it
    clips below its declared white, it looks as if the bright parts had changed.
    How: change of the gain along its steepest direction, and from dark to bright, as a share of the gain.
    Cure: shoot again in steady light; avoid dusk, traffic and lamps that flicker.
    """
    value = abs(pairs.gain_departure.beside(pairs.nonlinearity))
    change = Measured(value, pairs.gain_departure_se.beside(pairs.nonlinearity_se))
    least = change.least(limits)
    yield Skip(UNTOLD, least.unknown)
    worst = least.position_of_largest()
    changed = least.at(worst) > limits.gain_departure
    yield Fault(changed, _light_changed, [worst, change.value.at(worst), change.se.at(worst)])


_WHERE_CHANGED = ("from one side of the frame to the other", "from the dark to the bright parts of the frame")
_ALSO_CURED = ("", ", and the long frame shorter if its highlights clip")


def _light_changed(pair: PairView, limits: Limits, where: int, value: float, se: float) -> Draft:
    return Draft(
        f"the light changed between the frames, by {Measured(value, se).in_percent} {_WHERE_CHANGED[where]}, allowed "
        f"{percent(limits.gain_departure)}; shoot the pair again in steady light{_ALSO_CURED[where]}",
        measured=value,
        limit_high=limits.gain_departure,
        unit="share of the gain",
    )


@rule("PAIR231", "long-clipped", "warning", requires=("CAP101", "CAP122"), limit="{long_clipped:.0%}")
def long_clipped(pairs: Pairs, limits: Limits) -> Answers:
    """Sites of the long frame are at white, counted by channel.

    Why: what is clipped in the target cannot be learned, and gets a color cast where one channel clips first.
    How: the share of sites at or above the declared white, by CFA position; the largest counts.
    Cure: shoot the long frame shorter (and the short one with it), or keep lamps out of the picture.
    """
    shares = pairs.long.clipped_by_cfa
    yield Skip("the clipped share is unknown", shares.unknown)
    worst = shares.position_of_largest()
    yield Fault(shares.at(worst) > limits.long_clipped, _long_clipped, [worst, shares.at(worst)])


def _long_clipped(pair: PairView, limits: Limits, site: int, share: float) -> Draft:
    return Draft(
        f"{percent(share)} of the sites of {site_name(pair.long.cfa, site)} are at white in the long frame, allowed "
        f"{percent(limits.long_clipped)}; shoot both frames shorter, or keep lamps out of the picture",
        measured=share,
        limit_high=limits.long_clipped,
        unit="share of sites",
    )
