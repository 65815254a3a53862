"""One raw through a trained network: a picture to look at, upright, of 16 bits a channel."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float32, Shaped, UInt16

from sidcurate.errors import UsageError
from sidtrain.data import patches, shot
from sidtrain.data.shot import Metered
from sidtrain.evaluation import tiles
from sidtrain.normalization import LevelsSource
from sidtrain.recipe import DeviceType, Recipe
from sidtrain.training import devices
from sidtrain.weights import checkpoint

_ROWS_AT_ONCE = 256
# Exif's orientation: whether rows and columns change places, and whether rows and columns then run backward.
_TURNS: Final = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


@dataclass(frozen=True)
class Enhanced:
    """A picture, and how it came about.

    Attributes:
        picture: sRGB primaries with the curve of LibRaw's rendering, as the network's targets have; upright.
        metered: what the planes were multiplied by, and what that made of their mean.
        levels: where the input's black and white come from.
        orientation: Exif's, which the picture was turned by.
        recipe: the network's.
    """

    picture: UInt16[np.ndarray, "h w 3"]
    metered: Metered
    levels: LevelsSource
    orientation: int
    recipe: Recipe


def enhance(
    raw_path: Path,
    checkpoint_path: Path,
    ratio: float | None = None,
    *,
    device_type: DeviceType = "auto",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Enhanced:
    """Return the network's picture of a raw, of any size.

    Lines at the edge that do not fill a whole block of filters are left out: one at most of Bayer, five of X-Trans.

    Args:
        raw_path: the raw; only read.
        checkpoint_path: folder of a run, or its weights.
        ratio: what the light above black is multiplied by; None for `shot.metered`'s.
        device_type: where the network runs.
        progress: called with the count of tiles done and of tiles to do.

    Raises:
        UsageError: a ratio that is not positive, a raw that is none for this network, or a network of no pictures.
        UnreadableRawError: no reader gets the pixels.
        SidcurateError: what `checkpoint.load`, `devices.pick` and `devices.faults_in_words` raise.
    """
    if ratio is not None and not 0 < ratio < math.inf:
        raise UsageError(f"the ratio is {ratio:g}; give a positive number, such as 100")
    device = devices.pick(device_type)
    model, sidecar = checkpoint.load(checkpoint_path)
    recipe = sidecar.recipe
    if recipe.target != "rendered":
        raise UsageError(
            f"{checkpoint_path} puts out the planes of a mosaic, which are for a raw developer and no picture; give a "
            'checkpoint of a recipe with target = "rendered", such as device'
        )
    taken = shot.read(raw_path, recipe, sidecar.zeros)
    chosen = shot.metered(taken, ratio, _metered_span(recipe))
    planes = patches.network_input(taken.planes, taken.black, taken.white, chosen.ratio, recipe.input_clip)
    with devices.faults_in_words(devices.END_OTHERS):
        picture = tiles.picture(model.to(device), planes, progress)
    shown = upright(_sixteen_bit(picture), taken.orientation)
    return Enhanced(shown, chosen, taken.levels, taken.orientation, recipe)


def upright(image: Shaped[np.ndarray, "h w *c"], orientation: int) -> Shaped[np.ndarray, "H W *c"]:
    """Return the view of an image as it is to be looked at.

    >>> upright(np.array([[1, 2, 3], [4, 5, 6]]), 6).tolist()
    [[4, 1], [5, 2], [6, 3]]
    """
    transposed, rows_backward, columns_backward = _TURNS[orientation]
    turned = image.swapaxes(0, 1) if transposed else image
    return turned[:: -1 if rows_backward else 1, :: -1 if columns_backward else 1]


def _metered_span(recipe: Recipe) -> tuple[float, float]:
    """Return the ratios to choose from: those that the network knows, of exposure ratios without end the usual ones."""
    least, most = recipe.ratio_policy.span
    return least, most if math.isfinite(most) else shot.RATIOS[1]


def _sixteen_bit(picture: Float32[np.ndarray, "h w 3"]) -> UInt16[np.ndarray, "h w 3"]:
    """Return a picture in codes, 1 at 65535; in strips, so that it costs no third copy."""
    codes = np.empty(picture.shape, np.uint16)
    for top in range(0, len(picture), _ROWS_AT_ONCE):
        rows = slice(top, top + _ROWS_AT_ONCE)
        codes[rows] = np.rint(np.clip(picture[rows], 0, 1) * np.float32(65535))
    return codes
