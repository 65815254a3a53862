"""PAIR221 to PAIR224: rules about whether two frames show the same picture in the same place."""

from sidcurate.rules.contract import Answers, Draft, Fault, Skip, rule
from sidcurate.rules.figures import percent, unknown
from sidcurate.rules.light import UNTOLD, Measured
from sidcurate.rules.limits import Limits
from sidcurate.rules.views import Pairs, PairView
from sidcurate.schemas import Pair


@rule("PAIR223", "different-scene", "error", requires=("PAIR232",), limit="correlation {correlation:g}")
def different_scene(pairs: Pairs, limits: Limits) -> Answers:
    """The two frames show different things.

    Why: the network would be taught a picture that is not there.
    How: the pictures are laid on each other where they agree best, and compared in structure, not in brightness: one
    scene gives nearly 1, even when shifted or out of focus, two scenes nearly 0, behind one fence or below one clipped
    sky too. (Every wave of the pictures that is clear of the noise counts once, by the cosine of the phase between the
    two.) A short frame too dark for that still passes when it has the signal to be laid on the long one (PAIR232).
    Cure: correct the pairing (`sidcurate pair --pairs`), or shoot the pair again.
    """
    correlation = Measured(pairs.correlation, pairs.correlation_se)
    yield Skip(UNTOLD, unknown(*correlation) & pairs.shift_px.unknown)
    yield Fault(correlation.most(limits) < limits.correlation, _different_scene, correlation)
    yield Skip(UNTOLD, pairs.correlation < limits.correlation)


def _different_scene(pair: PairView, limits: Limits, value: float, se: float) -> Draft:
    return Draft(
        f"the frames show different things: their correlation is {Measured(value, se)}, {limits.correlation:g} is the "
        "least for one scene; correct the pairing with `sidcurate pair --pairs`, or shoot the pair again",
        measured=value,
        limit_low=limits.correlation,
        unit="correlation",
    )


@rule("PAIR221", "shifted", "error", requires=("PAIR223",), limit="{shift_px:g} mosaic px")
def shifted(pairs: Pairs, limits: Limits) -> Answers:
    """The two frames do not lie on each other.

    Why: a network that is taught with shifted targets learns to blur.
    How: the largest displacement anywhere in the frame, rotation included, on the mosaic grid.
    Cure: shoot again with a remote release or a delay, on a tripod that nobody touches between the frames.
    """
    shift = Measured(pairs.shift_px, pairs.shift_se_px)
    yield Skip(UNTOLD, unknown(*shift))
    yield Fault(shift.least(limits) > limits.shift_px, _shifted, shift)


def _shifted(pair: PairView, limits: Limits, value: float, se: float) -> Draft:
    return Draft(
        f"the long frame lies off the short one by up to {Measured(value, se)} px{_where_to(pair.pair)}, allowed "
        f"{limits.shift_px:g} px; shoot again with a remote release, the tripod untouched",
        measured=value,
        limit_high=limits.shift_px,
        unit="px",
    )


def _where_to(pair: Pair) -> str:
    """Return in words how the long frame is displaced, as far as that is known."""
    parts = [
        f"{abs(value):{form}}{unit} {one if value > 0 else other}"
        for value, form, unit, one, other in (
            (pair.shift_y_px, ".1f", " px", "down", "up"),
            (pair.shift_x_px, ".1f", " px", "right", "left"),
            (pair.rotation_deg, ".2f", "°", "clockwise", "counterclockwise"),
        )
        if value is not None and float(f"{value:{form}}")
    ]
    return f" ({', '.join(parts)})" if parts else ""


@rule("PAIR222", "scene-moved", "warning", requires=("PAIR221", "PAIR213"), limit="{moved_share:.0%} of the blocks")
def scene_moved(pairs: Pairs, limits: Limits) -> Answers:
    """Part of the picture changed between the frames.

    Why: cars, people and leaves in the wind are in one frame and not in the other.
    How: the share of blocks whose content differs by more than noise, after shift and gain are taken out.
    Cure: shoot again when nothing moves; a small share does little harm.
    """
    moved = Measured(pairs.moved_fraction, pairs.moved_se)
    yield Skip(UNTOLD, unknown(*moved))
    yield Fault(moved.least(limits) > limits.moved_share, _scene_moved, moved)


def _scene_moved(pair: PairView, limits: Limits, value: float, se: float) -> Draft:
    return Draft(
        f"{Measured(value, se).in_percent} of the picture changed between the frames, allowed "
        f"{percent(limits.moved_share)}; shoot again when nothing moves",
        measured=value,
        limit_high=limits.moved_share,
        unit="share of the blocks",
    )


@rule("PAIR224", "focus-changed", "warning", requires=("PAIR221",), limit="a factor of {focus_factor:g}")
def focus_changed(pairs: Pairs, limits: Limits) -> Answers:
    """One frame is sharper than the other by more than noise explains.

    Why: a soft long frame teaches the network to blur, a soft short one to invent detail.
    How: how much fine detail of the long frame comes back in the short one, against how much of its light does: 1 when
    both are equally sharp, more when the long frame is the softer one.
    Cure: focus by hand once, tape the ring, and shoot both frames again.
    """
    focus = Measured(pairs.focus_ratio, pairs.focus_se)
    yield Skip(UNTOLD, unknown(*focus))
    low, high = _allowed_focus(limits)
    yield Fault((focus.most(limits) < low) | (focus.least(limits) > high), _focus_changed, focus)


def _allowed_focus(limits: Limits) -> tuple[float, float]:
    return 1 / limits.focus_factor, limits.focus_factor


def _focus_changed(pair: PairView, limits: Limits, value: float, se: float) -> Draft:
    low, high = _allowed_focus(limits)
    softer = "long" if value > 1 else "short"
    return Draft(
        f"the {softer} frame is the softer one: the short frame has {Measured(value, se)} times the fine detail of the "
        f"long one, allowed {low:.2g}-{high:.2g}; focus by hand, tape the ring and shoot both frames again",
        measured=value,
        limit_low=low,
        limit_high=high,
        unit="fine detail, short over long",
    )
