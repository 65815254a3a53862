"""What a run sees of itself: the network's output on the validation scenes, as means and as a picture.

Always in single precision and without compilation, whatever the steps are computed in, and in tiles, so that a crop of
any size takes no more memory than they do.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from PIL import Image

from sidcurate.schemas import Pair
from sidtrain.architectures import COLORS
from sidtrain.data import patches
from sidtrain.data.store import Entry
from sidtrain.evaluation import tiles
from sidtrain.evaluation.metrics import psnr_db
from sidtrain.evaluation.preview import preview
from sidtrain.recipe import Recipe
from sidtrain.weights import history
from sidtrain.weights.unet import Unet

# A pair takes its name from its files', which may fill all of the 255 bytes that a name can have.
_NAME_BYTES = 100


def means(model: Unet, scenes: Sequence[Sequence[Entry]], recipe: Recipe) -> dict[str, float]:
    """Return L1 and PSNR over the validation scenes, a scene's shorts averaged first; empty without scenes."""
    if not scenes:
        return {}
    per_scene = [np.mean([_score(model, entry, recipe) for entry in shorts], axis=0) for shorts in scenes]
    l1, psnr = (float(mean) for mean in np.mean(per_scene, axis=0))
    return {"val_l1": l1, "val_psnr_db": psnr}


def picture_name(pair: Pair, step: int) -> str:
    """Return the name of a pair's picture at a step."""
    return f"{pair.split}-{history.bounded_name(pair.pair_id, _NAME_BYTES)}-{step:07d}.png"


def write_picture(path: Path, model: Unet, entry: Entry, recipe: Recipe) -> None:
    """Write short x ratio, output and target side by side, of the central crop.

    The short is shown as the network gets it: without white balance, at half resolution, only with a gamma to see it.
    So are output and target where they are planes too.
    """
    crop = patches.central(entry, recipe.validation_crop)
    short = preview(patches.frame_input(crop, recipe).transpose(1, 2, 0))
    panels = [_shown(_output(model, crop, recipe)), _shown(patches.target_picture(crop))]
    larger = short.repeat(crop.enlargement, axis=0).repeat(crop.enlargement, axis=1)
    Image.fromarray((np.concatenate([larger, *panels], axis=1) * 255).round().astype(np.uint8)).save(path)


def _shown(picture: Float32[np.ndarray, "h w c"]) -> Float32[np.ndarray, "h w 3"]:
    return picture.clip(0, 1) if picture.shape[-1] == COLORS else preview(picture)


def _score(model: Unet, entry: Entry, recipe: Recipe) -> tuple[float, float]:
    """Return the L1 of the unclipped and the PSNR in dB of the clipped output, over the central crop."""
    crop = patches.central(entry, recipe.validation_crop)
    output, target = _output(model, crop, recipe), patches.target_picture(crop)
    return float(np.abs(output - target).mean()), psnr_db(output, target)


def _output(model: Unet, entry: Entry, recipe: Recipe) -> Float32[np.ndarray, "sh sw c"]:
    return tiles.picture(model, patches.frame_input(entry, recipe))
