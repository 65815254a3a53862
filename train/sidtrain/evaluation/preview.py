"""Planes as a picture to look at: each color the mean of its planes, with a gamma. No raw developer, and no torch."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import Float32

from sidcurate import cfa

GAMMA: Final = 2.2


def preview(
    planes: Float32[np.ndarray, "h w p"], white_balance: Sequence[float] | None = None
) -> Float32[np.ndarray, "h w 3"]:
    """Return planes as RGB in 0..1, of their own size.

    Args:
        planes: black at 0, white at 1, not clipped.
        white_balance: multipliers for R, G, B; None shows the colors of the sensor, which are green.
    """
    colors = np.array(list(cfa.PLANE_COLORS[planes.shape[-1]]))
    rgb = np.stack([planes[..., colors == color].mean(axis=-1) for color in "RGB"], axis=-1)
    if white_balance:
        rgb *= np.asarray(white_balance, np.float32)
    return np.asarray(np.clip(rgb, 0, 1) ** np.float32(1 / GAMMA))
