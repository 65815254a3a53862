"""What the pixels of a pair say: one light, one scene, one place, or not.

The order is that in which one fault spoils the next measurement: is there signal, is it the same scene; how does one
frame lie on the other; ratio and zero after aligning; then light, motion and focus on what is left. Every fact has a
standard error, and is None, not wrong, where the frames cannot tell.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from sidcurate.align.blocks import Blocks, blocks
from sidcurate.align.changes import moved_fraction, still_line
from sidcurate.align.estimates import Estimate
from sidcurate.align.fit import CODE_ERROR_STEPS, Line
from sidcurate.align.focus import blur_px, focus_ratio
from sidcurate.align.match import Match, match
from sidcurate.align.motion import Motion, motion
from sidcurate.align.trace import Trace
from sidcurate.schemas import LEAST_SIGNAL, SAME_SCENE_CORRELATION

_LEAST_CONTENT = 1.0
_LEAST_SE = 3.0
_MOST_CUT_OFF = 1e-2
# One frame is then so soft that its light crosses more than the neighbors of a block.
_MOST_BLUR_PX = 4.5
# A blur is not symmetric: it may move the picture by a part of its width.
_BLUR_MOVES = 0.1
# Where all light lies in one spot whose sharpness cannot be told, neither can the light of one frame from the other's.
_LEAST_SPREAD = 0.5
# What is left of uneven response within a bin and of light between bins, seen without any noise.
_RATIO_MODEL_ERROR = 0.003


@dataclass(frozen=True)
class PairFacts:
    """What the pixels of a pair say; None where they cannot tell.

    Attributes:
        signal: how far the short frame's likeness to the long one is above noise, in standard errors.
        correlation: mean cosine of the phases by which their waves differ: 1 for one scene, near 0 for two.
        shift_y_px: how far the long frame's picture lies below the short's, px of the mosaic, at the center.
        shift_x_px: how far it lies to the right.
        rotation_deg: how far it is turned clockwise.
        shift_px: largest displacement anywhere in the frame, rotation included, along what can be told.
        measured_ratio: light of the long frame over light of the short.
        zero_error_dn: zero of the pair less the declared black, by CFA position.
        gain_departure: change of the gain across the frame along its steepest direction, as a share of the gain.
        nonlinearity: change of the gain from dark to bright, as a share of the gain.
        moved_fraction: share of the frame whose content changed.
        focus_ratio: sharpness of the short frame over that of the long one.
    """

    signal: float | None = None
    correlation: Estimate | None = None
    shift_y_px: Estimate | None = None
    shift_x_px: Estimate | None = None
    rotation_deg: Estimate | None = None
    shift_px: Estimate | None = None
    measured_ratio: Estimate | None = None
    zero_error_dn: tuple[Estimate, Estimate, Estimate, Estimate] | None = None
    gain_departure: Estimate | None = None
    nonlinearity: Estimate | None = None
    moved_fraction: Estimate | None = None
    focus_ratio: Estimate | None = None


def measure_pair(short: Trace, long: Trace) -> PairFacts:
    """Return the facts of a pair from the traces of its two frames.

    Frames of different size or filter array cannot be laid on each other: their facts are all None.
    """
    if short.cfa != long.cfa or short.bins.shape != long.bins.shape or (short.size != long.size).any():
        return PairFacts()
    found = match(short.bins_dn[short.greens], long.bins_dn[long.greens], long.clipped_share)
    if found is None or found.content < _LEAST_CONTENT:
        return PairFacts()
    facts = PairFacts(signal=found.signal, correlation=found.correlation)
    moved = motion(short, long, found) if _comparable(found) else None
    if moved is None:
        return facts
    facts = replace(facts, **_motion_facts(moved, short.size))
    pair = blocks(short, long, moved.values)
    fitted = still_line(short, pair, level_dn(short, pair))
    if fitted is None or fitted.gain.value <= _LEAST_SE * fitted.gain.se:
        return facts
    if short.zero_fraction > _MOST_CUT_OFF or not fitted.dithered:
        # Codes, not light, make the means and the detail; what changed still shows.
        return replace(facts, moved_fraction=moved_fraction(fitted, pair.valid))
    focus = focus_ratio(short, long, moved, fitted)
    facts, light = replace(facts, focus_ratio=focus), _light_facts(fitted, short)
    if focus is not None and blur_px(focus) > _MOST_BLUR_PX:
        moved = moved.widened(_BLUR_MOVES * blur_px(focus))
        return replace(facts, nonlinearity=light["nonlinearity"], **_motion_facts(moved, short.size))
    if focus is None and fitted.light_spread < _LEAST_SPREAD:
        return facts
    return replace(facts, moved_fraction=moved_fraction(fitted, pair.valid), **light)


def _comparable(found: Match) -> bool:
    different = found.correlation is not None and found.correlation.value < SAME_SCENE_CORRELATION
    return found.signal >= LEAST_SIGNAL and not different and not found.ambiguous


def _motion_facts(moved: Motion, size: Int64[np.ndarray, "2"]) -> dict[str, Any]:
    y, x, turn = moved.facts
    degrees = turn and Estimate(math.degrees(turn.value), math.degrees(turn.se))
    return {"shift_y_px": y, "shift_x_px": x, "rotation_deg": degrees, "shift_px": moved.largest(size)}


def level_dn(short: Trace, pair: Blocks) -> Float64[np.ndarray, "4"]:
    """Return the DN from which light is counted: the declared black, or the darkest block where none is declared."""
    return np.where(np.isnan(short.black_dn), pair.short.min(axis=(1, 2)), short.black_dn)


def _light_facts(fitted: Line, short: Trace) -> dict[str, Any]:
    """Return ratio, zero and evenness of the light."""
    light = fitted.expected_dn.mean(axis=(1, 2))
    code_error = CODE_ERROR_STEPS * short.code_step
    model_error = math.hypot(_RATIO_MODEL_ERROR, code_error / max(float(light.mean()), code_error, math.ulp(0.0)))
    facts: dict[str, Any] = {"nonlinearity": fitted.bend.widened(model_error)}
    gain, gain_se = fitted.gain.value, fitted.errors[4]
    if gain > _LEAST_SE * gain_se:
        facts["measured_ratio"] = Estimate(1 / gain, float(gain_se) / gain**2).widened(model_error / gain)
    if np.isnan(short.black_dn).any():
        return facts
    zeros = zip(fitted.values[:4].tolist(), fitted.errors[:4].tolist(), (model_error * light).tolist(), strict=True)
    facts["zero_error_dn"] = tuple(Estimate(zero, se).widened(error) for zero, se, error in zeros)
    facts["gain_departure"] = fitted.gain_departure.widened(model_error)
    return facts
