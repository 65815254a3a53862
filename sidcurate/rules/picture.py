"""PAIR221 to PAIR224: rules about whether two frames show the same picture in the same place."""

from sidcurate.rules.contract import Answers, Draft, PairView, Skip, rule
from sidcurate.rules.figures import percent
from sidcurate.rules.light import UNTOLD, Measured
from sidcurate.rules.limits import Limits
from sidcurate.schemas import Pair


@rule("PAIR223", "different-scene", "error", requires=("PAIR232",), limit="correlation {correlation:g}")
def different_scene(view: PairView, limits: Limits) -> Answers:
    """The two frames show different things.

    Why: the network would be taught a picture that is not there.
    How: the correlation of what both frames show, noise removed, at the best place that one can lie on the other: near
    1 for one scene even when it is shifted or out of focus, near 0 for two. A short frame so dark that no correlation
    can be told still shows the long one's picture when its signal suffices to lay one on the other.
    Cure: correct the pairing (`sidcurate pair --pairs`), or shoot the pair again.
    """
    correlation = Measured.of(view.pair.correlation, view.pair.correlation_se)
    if correlation is None:
        if view.pair.shift_px is None:
            yield Skip(UNTOLD)
    elif correlation.most(limits) < limits.correlation:
        yield Draft(
            f"the frames show different things: their correlation is {correlation}, {limits.correlation:g} is the "
            "least for one scene; correct the pairing with `sidcurate pair --pairs`, or shoot the pair again",
            measured=correlation.value,
            limit_low=limits.correlation,
            unit="correlation",
        )


@rule("PAIR221", "shifted", "error", requires=("PAIR223",), limit="{shift_px:g} mosaic px")
def shifted(view: PairView, limits: Limits) -> Answers:
    """The two frames do not lie on each other.

    Why: a network that is taught with shifted targets learns to blur.
    How: the largest displacement anywhere in the frame, rotation included, on the mosaic grid.
    Cure: shoot again with a remote release or a delay, on a tripod that nobody touches between the frames.
    """
    shift = Measured.of(view.pair.shift_px, view.pair.shift_se_px)
    if shift is None:
        yield Skip(UNTOLD)
    elif shift.least(limits) > limits.shift_px:
        yield Draft(
            f"the long frame lies off the short one by up to {shift} px{_where_to(view.pair)}, allowed "
            f"{limits.shift_px:g} px; shoot again with a remote release, the tripod untouched",
            measured=shift.value,
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
def scene_moved(view: PairView, limits: Limits) -> Answers:
    """Part of the picture changed between the frames.

    Why: cars, people and leaves in the wind are in one frame and not in the other.
    How: the share of blocks whose content differs by more than noise, after shift and gain are taken out.
    Cure: shoot again when nothing moves; a small share does little harm.
    """
    moved = Measured.of(view.pair.moved_fraction, view.pair.moved_se)
    if moved is None:
        yield Skip(UNTOLD)
    elif moved.least(limits) > limits.moved_share:
        yield Draft(
            f"{moved.in_percent} of the picture changed between the frames, allowed {percent(limits.moved_share)}; "
            "shoot again when nothing moves",
            measured=moved.value,
            limit_high=limits.moved_share,
            unit="share of the blocks",
        )


@rule("PAIR224", "focus-changed", "warning", requires=("PAIR221",), limit="a factor of {focus_factor:g}")
def focus_changed(view: PairView, limits: Limits) -> Answers:
    """One frame is sharper than the other by more than noise explains.

    Why: a soft long frame teaches the network to blur, a soft short one to invent detail.
    How: the transfer of fine detail from the long frame to the short, as a share of the gain: 1 when both are equally
    sharp, more when the long frame is the softer one.
    Cure: focus by hand once, tape the ring, and shoot both frames again.
    """
    focus = Measured.of(view.pair.focus_ratio, view.pair.focus_se)
    if focus is None:
        yield Skip(UNTOLD)
        return
    low, high = 1 / limits.focus_factor, limits.focus_factor
    if focus.most(limits) >= low and focus.least(limits) <= high:
        return
    softer = "long" if focus.value > 1 else "short"
    yield Draft(
        f"the {softer} frame is the softer one: the short frame has {focus} times the fine detail of the long one, "
        f"allowed {low:.2g}-{high:.2g}; focus by hand, tape the ring and shoot both frames again",
        measured=focus.value,
        limit_low=low,
        limit_high=high,
        unit="fine detail, short over long",
    )
