"""CAP121 to CAP123: rules about the black level, the white level and the bits of one capture.

Levels are compared by CFA position, because channels differ: one body clips green at 3840 and red at 4095.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from sidcurate.rules.contract import Answers, Draft, Fault, Skip, rule
from sidcurate.rules.figures import percent, site_name, unknown
from sidcurate.rules.limits import Limits
from sidcurate.rules.views import Captures
from sidcurate.schemas import Capture

if TYPE_CHECKING:
    from sidcurate.tables.columns import Where


class _Channel(NamedTuple):
    """What header and pixels say by CFA position, in DN: columns of many captures, or the numbers of one channel."""

    black: Any
    white: Any
    masked: Any
    p1: Any
    p50: Any
    highest: Any
    clip: Any
    code_step: Any

    @property
    def range(self) -> Any:  # noqa: ANN401 - as the fields are
        return self.white - self.black

    def allowed_error(self, limits: Limits) -> Any:  # noqa: ANN401
        """Error of the black that amplification forgives, and what a percentile of whole codes cannot tell."""
        return limits.black_error * self.range / limits.exposure_ratio_high + 0.5 * self.code_step


def _channels(captures: Captures) -> _Channel:
    """Return the channels, unknown where levels or statistics are missing or are not of the same positions."""
    black = captures.black_level
    needed = [f.fitting(black) for f in (captures.white_level, captures.dn_p1, captures.dn_p50, captures.dn_max)]
    white, p1, p50, highest = needed
    masked, clip = (fact.fitting(black) for fact in (captures.masked_black, captures.clip_dn))
    black = black.only(~unknown(*needed))
    return _Channel(black, white, masked, p1, p50, highest, clip, captures.code_step.or_else(1))


def _fault(channels: _Channel, where: "Where", words: Callable[[Capture, Limits, str, _Channel], Draft]) -> Fault:
    """Return the fault of the first channel of each capture in which something holds."""
    site = channels.black.first(where)

    def of_channel(capture: Capture, limits: Limits, site: int, *facts: float) -> Draft:
        return words(capture, limits, site_name(capture.cfa, site), _Channel(*facts))

    return Fault(~site.unknown, of_channel, [site, *(fact.at(site) for fact in channels)])


@rule(
    "CAP121",
    "black-level-implausible",
    "error",
    requires=("CAP102", "CAP104"),
    limit="{black_error:.0%} of white at ratio {exposure_ratio_high:g}; 1st percentile {black_undershoot:.0%} below",
)
def black_implausible(captures: Captures, limits: Limits) -> Answers:
    """The black level is absent, or masked pixels or the darkest sites of the frame prove it wrong.

    Why: an error of one DN becomes 300 DN at ratio 300: a gray veil or a color cast over the whole picture.
    How: light cannot be negative and noise is centered on the zero, so the declared black is wrong where (a) it is not
    below white, (b) the masked pixels lie elsewhere, (c) half of a channel lies below it: b and c by more than a share
    of the white range after amplification, and not counting the rounding of whole numbers; or (d) the 1st percentile
    lies deeper below it than the read noise of any calibrated camera explains. A frame that is far above its black is
    bright, which is no fault; a few sites far below it are noise or a lossy curve.
    Cure: find the true black with a frame shot with the lens cap on, and use a converter that writes it.
    """
    yield Skip("no pixels were read", captures.width.unknown)
    yield Fault(captures.black_level.unknown, _no_black)
    channels = _channels(captures)
    yield Skip("white level or statistics are unknown", channels.black.unknown)
    yield _fault(channels, channels.black >= channels.white, _not_below_white)
    off = abs(channels.masked - channels.black)
    yield _fault(channels, off > channels.allowed_error(limits), _masked_elsewhere)
    half, deep = _lowest(channels, limits)
    yield _fault(channels, (channels.p50 < half) | (channels.p1 < deep), _darker)


def _lowest(channel: _Channel, limits: Limits) -> tuple[Any, Any]:
    """Return the lowest value that noise gives half of the sites, and 1 % of them, with the declared black."""
    half = channel.black - channel.allowed_error(limits)
    deep = channel.black - limits.black_undershoot * channel.range
    return half, deep


def _no_black(capture: Capture, limits: Limits) -> Draft:
    return Draft("has no black level, neither as a tag nor in masked pixels; use a converter that writes BlackLevel")


def _not_below_white(capture: Capture, limits: Limits, site: str, channel: _Channel) -> Draft:
    return Draft(
        f"black {channel.black:g} DN of {site} is not below white {channel.white:g} DN; use a converter that "
        "writes the levels of this camera",
        measured=channel.black,
        limit_high=channel.white,
        unit="DN",
    )


def _masked_elsewhere(capture: Capture, limits: Limits, site: str, channel: _Channel) -> Draft:
    allowed = channel.allowed_error(limits)
    amplified = abs(channel.masked - channel.black) * limits.exposure_ratio_high / channel.range
    return Draft(
        f"the masked pixels of {site} say {channel.masked:g} DN, the declared black is {channel.black:g}, "
        f"allowed ±{allowed:.2g}: at ratio {limits.exposure_ratio_high:g} that is {percent(amplified)} of the white "
        "range; check the black with a lens-cap frame",
        measured=channel.masked,
        limit_low=channel.black - allowed,
        limit_high=channel.black + allowed,
        unit="DN",
    )


def _darker(capture: Capture, limits: Limits, site: str, channel: _Channel) -> Draft:
    half, deep = _lowest(channel, limits)
    share, value, lowest = ("half", channel.p50, half) if channel.p50 < half else ("1 %", channel.p1, deep)
    return Draft(
        f"{share} of the sites of {site} lie at or below {value} DN; with the declared black "
        f"{channel.black:g} noise explains no less than {lowest:.5g}: the true black is lower, find it with a "
        "lens-cap frame",
        measured=value,
        limit_low=lowest,
        unit="DN",
    )


@rule(
    "CAP122",
    "white-level-implausible",
    "warning",
    requires=("CAP121",),
    limit="{white_excess:.0%} above, clip spike {white_shortfall:.0%} below",
)
def white_implausible(captures: Captures, limits: Limits) -> Answers:
    """There is data above the declared white, or the channel clips well below it.

    Why: with white too low bright parts are cut off; with white too high clipped sky is not seen as clipped, turns
    pink, and teaches the network that color.
    How: largest value and clip spike of each CFA position, as shares of the range from black to white.
    Cure: compare with a frame that is overexposed on purpose, and use a converter that writes the true white.
    """
    channels = _channels(captures)
    yield Skip("levels or statistics are unknown", channels.black.unknown)
    lowest, highest = _white_range(channels, limits)
    clips_early = (channels.clip >= 0) & (channels.clip < lowest)
    yield _fault(channels, (channels.highest > highest) | clips_early, _white_elsewhere)


def _white_range(channel: _Channel, limits: Limits) -> tuple[Any, Any]:
    """Return the lowest clip spike and the highest value that the declared white allows."""
    lowest = channel.white - limits.white_shortfall * channel.range
    highest = channel.white + limits.white_excess * channel.range
    return lowest, highest


def _white_elsewhere(capture: Capture, limits: Limits, site: str, channel: _Channel) -> Draft:
    lowest, highest = _white_range(channel, limits)
    above = channel.highest > highest
    seen, measured = ("has data up to", channel.highest) if above else ("clips at", channel.clip)
    return Draft(
        f"{site} {seen} {measured} DN, the declared white is {channel.white:g}, allowed {lowest:.6g} to "
        f"{highest:.6g}; overexpose a frame on purpose to see where the channel clips",
        measured=measured,
        limit_low=lowest,
        limit_high=highest,
        unit="DN",
    )


@rule(
    "CAP123",
    "bit-depth-below-declared",
    "warning",
    requires=("CAP102", "CAP104"),
    limit="declared bits, seen in {code_step_min_codes} codes or more",
)
def bit_depth_below_declared(captures: Captures, limits: Limits) -> Answers:
    """All codes in use are multiples of 2, 4 ... apart: the frame has fewer bits than its white level declares.

    Why: some bodies drop from 14 to 12 bits in bulb, electronic-shutter and continuous modes. Steps of 4 DN become
    1,200 DN at ratio 300: bands in the dark.
    How: the largest power of two that divides all distances between codes in use. A short frame uses few codes and a
    lossy curve has steps of its own, finer in the dark: neither is a fault. Too few codes prove nothing.
    Cure: use the mechanical shutter, single drive, uncompressed raw, and a timed exposure instead of bulb.
    """
    observed, declared = captures.bits_observed, captures.bits_declared
    yield Skip("the codes in use tell no step", unknown(captures.code_step, observed, declared))
    fewer = observed < declared
    codes = captures.distinct_codes.largest().or_else(0)
    yield Skip("too few codes are in use to prove a step", fewer & (codes < limits.code_step_min_codes))
    yield Fault(fewer, _fewer_bits)


def _fewer_bits(capture: Capture, limits: Limits) -> Draft:
    return Draft(
        f"the codes in use have a step of {capture.code_step} DN: {capture.bits_observed} bits, declared "
        f"{capture.bits_declared}; use mechanical shutter, single drive, uncompressed raw and no bulb",
        measured=capture.bits_observed,
        limit_low=capture.bits_declared,
        unit="bit",
    )
