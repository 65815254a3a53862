"""CAP121 to CAP123: rules about the black level, the white level and the bits of one capture.

Levels are compared by CFA position, because channels differ: one body clips green at 3840 and red at 4095.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from sidcurate.rules.contract import Answers, CaptureView, Draft, Skip, rule
from sidcurate.rules.figures import percent, site_name
from sidcurate.rules.limits import Limits
from sidcurate.schemas import Capture

N = TypeVar("N", int, float)


class _Channel(NamedTuple):
    """What the header and the pixels say of one CFA position, in DN. A tuple, because there are millions of them."""

    cfa: str | None
    site: int
    rounding: float
    black: float
    white: float
    masked: float | None
    p1: int
    p50: int
    highest: int
    clip: int | None

    @property
    def name(self) -> str:
        return site_name(self.cfa, self.site)

    @property
    def range(self) -> float:
        return self.white - self.black

    def allowed_error(self, limits: Limits) -> float:
        """Error of the black that amplification forgives, and what a percentile of whole codes cannot tell."""
        return limits.black_error * self.range / limits.exposure_ratio_high + self.rounding


def _channels(capture: Capture) -> Sequence[_Channel] | None:
    """Return the channels, None where levels or statistics are missing or are not of the same positions."""
    black, white = capture.black_level, capture.white_level
    p1, p50, highest = capture.dn_p1, capture.dn_p50, capture.dn_max
    if black is None or white is None or p1 is None or p50 is None or highest is None:
        return None
    if len({len(values) for values in (black, white, p1, p50, highest)}) > 1:
        return None
    masked, clip = (_fitting(values, len(black)) for values in (capture.masked_black, capture.clip_dn))
    rounding = 0.5 * (capture.code_step or 1)
    return [
        _Channel(capture.cfa, site, rounding, *values)
        for site, values in enumerate(zip(black, white, masked, p1, p50, highest, clip, strict=True))
    ]


def _fitting(values: Sequence[N] | None, count: int) -> Sequence[N | None]:
    return values if values is not None and len(values) == count else [None] * count


@rule(
    "CAP121",
    "black-level-implausible",
    "error",
    requires=("CAP102", "CAP104"),
    limit="{black_error:.0%} of white at ratio {exposure_ratio_high:g}; 1st percentile {black_undershoot:.0%} below",
)
def black_implausible(view: CaptureView, limits: Limits) -> Answers:
    """The black level is absent, or masked pixels or the darkest sites of the frame prove it wrong.

    Why: an error of one DN becomes 300 DN at ratio 300: a gray veil or a color cast over the whole picture.
    How: light cannot be negative and noise is centered on the zero, so the declared black is wrong where (a) it is not
    below white, (b) the masked pixels lie elsewhere, (c) half of a channel lies below it: b and c by more than a share
    of the white range after amplification, and not counting the rounding of whole numbers; or (d) the 1st percentile
    lies deeper below it than the read noise of any calibrated camera explains. A frame that is far above its black is
    bright, which is no fault; a few sites far below it are noise or a lossy curve.
    Cure: find the true black with a frame shot with the lens cap on, and use a converter that writes it.
    """
    if view.capture.width is None:
        yield Skip("no pixels were read")
        return
    if view.capture.black_level is None:
        yield Draft("has no black level, neither as a tag nor in masked pixels; use a converter that writes BlackLevel")
        return
    channels = _channels(view.capture)
    if channels is None:
        yield Skip("white level or statistics are unknown")
        return
    for judge in (_not_below_white, _masked_elsewhere, _darker):
        drafts = [draft for channel in channels if (draft := judge(channel, limits))]
        if drafts:
            yield drafts[0]
            return


def _not_below_white(channel: _Channel, limits: Limits) -> Draft | None:
    if channel.black < channel.white:
        return None
    return Draft(
        f"black {channel.black:g} DN of {channel.name} is not below white {channel.white:g} DN; use a converter that "
        "writes the levels of this camera",
        measured=channel.black,
        limit_high=channel.white,
        unit="DN",
    )


def _masked_elsewhere(channel: _Channel, limits: Limits) -> Draft | None:
    allowed = channel.allowed_error(limits)
    if channel.masked is None or abs(channel.masked - channel.black) <= allowed:
        return None
    amplified = abs(channel.masked - channel.black) * limits.exposure_ratio_high / channel.range
    return Draft(
        f"the masked pixels of {channel.name} say {channel.masked:g} DN, the declared black is {channel.black:g}, "
        f"allowed ±{allowed:.2g}: at ratio {limits.exposure_ratio_high:g} that is {percent(amplified)} of the white "
        "range; check the black with a lens-cap frame",
        measured=channel.masked,
        limit_low=channel.black - allowed,
        limit_high=channel.black + allowed,
        unit="DN",
    )


def _darker(channel: _Channel, limits: Limits) -> Draft | None:
    half = channel.black - channel.allowed_error(limits)
    deep = channel.black - limits.black_undershoot * channel.range
    for share, value, lowest in (("half", channel.p50, half), ("1 %", channel.p1, deep)):
        if value < lowest:
            return Draft(
                f"{share} of the sites of {channel.name} lie at or below {value} DN; with the declared black "
                f"{channel.black:g} noise explains no less than {lowest:.5g}: the true black is lower, find it with a "
                "lens-cap frame",
                measured=value,
                limit_low=lowest,
                unit="DN",
            )
    return None


@rule(
    "CAP122",
    "white-level-implausible",
    "warning",
    requires=("CAP121",),
    limit="{white_excess:.0%} above, clip spike {white_shortfall:.0%} below",
)
def white_implausible(view: CaptureView, limits: Limits) -> Answers:
    """There is data above the declared white, or the channel clips well below it.

    Why: with white too low bright parts are cut off; with white too high clipped sky is not seen as clipped, turns
    pink, and teaches the network that color.
    How: largest value and clip spike of each CFA position, as shares of the range from black to white.
    Cure: compare with a frame that is overexposed on purpose, and use a converter that writes the true white.
    """
    channels = _channels(view.capture)
    if channels is None:
        yield Skip("levels or statistics are unknown")
        return
    drafts = [draft for channel in channels if (draft := _white_elsewhere(channel, limits))]
    yield from drafts[:1]


def _white_elsewhere(channel: _Channel, limits: Limits) -> Draft | None:
    highest = channel.white + limits.white_excess * channel.range
    lowest = channel.white - limits.white_shortfall * channel.range
    if channel.highest > highest:
        seen, measured = "has data up to", channel.highest
    elif channel.clip is not None and 0 <= channel.clip < lowest:
        seen, measured = "clips at", channel.clip
    else:
        return None
    return Draft(
        f"{channel.name} {seen} {measured} DN, the declared white is {channel.white:g}, allowed {lowest:.6g} to "
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
def bit_depth_below_declared(view: CaptureView, limits: Limits) -> Answers:
    """All codes in use are multiples of 2, 4 ... apart: the frame has fewer bits than its white level declares.

    Why: some bodies drop from 14 to 12 bits in bulb, electronic-shutter and continuous modes. Steps of 4 DN become
    1,200 DN at ratio 300: bands in the dark.
    How: the largest power of two that divides all distances between codes in use. A short frame uses few codes and a
    lossy curve has steps of its own, finer in the dark: neither is a fault. Too few codes prove nothing.
    Cure: use the mechanical shutter, single drive, uncompressed raw, and a timed exposure instead of bulb.
    """
    capture = view.capture
    if capture.code_step is None or capture.bits_declared is None or capture.bits_observed is None:
        yield Skip("the codes in use tell no step")
    elif capture.bits_observed >= capture.bits_declared:
        return
    elif max(capture.distinct_codes or (0,)) < limits.code_step_min_codes:
        yield Skip("too few codes are in use to prove a step")
    else:
        yield Draft(
            f"the codes in use have a step of {capture.code_step} DN: {capture.bits_observed} bits, declared "
            f"{capture.bits_declared}; use mechanical shutter, single drive, uncompressed raw and no bulb",
            measured=capture.bits_observed,
            limit_low=capture.bits_declared,
            unit="bit",
        )
