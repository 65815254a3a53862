"""Which part of the picture changed between two aligned frames of one light."""

import numpy as np
from jaxtyping import Bool, Float64

from sidcurate.align.estimates import Estimate
from sidcurate.align.fit import Line

# A change of content is larger than what uneven light or a lens does, and clear of the noise.
_CHANGED_SHARE = 0.25
_CHANGED_SE = 5.0
_REACH_BLOCKS = 1
_FEWEST_TELLING = 0.2


def moved_fraction(line: Line, valid: Bool[np.ndarray, "4 h w"]) -> Estimate | None:
    """Return the share of the blocks whose content is another in the short frame than in the long one.

    Neighboring blocks are judged together, all positions at once. The standard error is half of what the share changes
    when the noise limit moves by one standard error either way, and at least one block.

    Returns:
        The share; None where the short frame is too dark to tell in most of the frame.
    """
    weights = valid / line.noise_dn**2
    total, left, expected = (_pooled((weights * plane).sum(axis=0)) for plane in (1.0, line.left_dn, line.expected_dn))
    seen = _pooled(valid.sum(axis=0).astype(np.float64)) > 0
    total = np.maximum(total, np.finfo(float).tiny)
    left, expected, noise = left / total, expected / total, total**-0.5
    telling = seen & (_CHANGED_SHARE * expected > _CHANGED_SE * noise)
    if telling.sum() < _FEWEST_TELLING * seen.size:
        return None
    large = seen & (np.abs(left) > _CHANGED_SHARE * np.maximum(expected, expected + left))
    wide, share, narrow = (
        float((large & (np.abs(left) > limit * noise)).sum() / seen.sum())
        for limit in (_CHANGED_SE - 1, _CHANGED_SE, _CHANGED_SE + 1)
    )
    return Estimate(share, max((wide - narrow) / 2, 1 / float(seen.sum())))


def _pooled(plane: Float64[np.ndarray, "h w"]) -> Float64[np.ndarray, "h w"]:
    """Return the sums over each block and its neighbors; beyond the edges nothing."""
    reach = _REACH_BLOCKS
    padded = np.pad(plane, reach)
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, (2 * reach + 1,) * 2).sum(axis=(2, 3)))
