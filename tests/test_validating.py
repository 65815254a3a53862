"""What a run sees of itself: the figures of the whole crop, in pieces that its memory holds."""

import numpy as np
import pytest
import torch

from sidcurate.schemas import Pair
from sidtrain.data import patches
from sidtrain.data.store import Entry
from sidtrain.evaluation import metrics, tiles
from sidtrain.recipe import Recipe
from sidtrain.training import validating
from sidtrain.weights.unet import architecture_of, build

RECIPE = Recipe(width=1, resolutions=2, validation_crop=2000)
# More than a tile holds, and no multiple of one along either side.
HEIGHT, WIDTH = 901, 1103


def pair(pair_id: str = "00002_00") -> Pair:
    names = {"scene_id": pair_id[:5], "short_path": "short.dng", "long_path": "long.dng", "reason": "made up"}
    return Pair(device="phone", pair_id=pair_id, burst_index=0, exposure_ratio=100.0, split="val", **names)


def entry(seed: int = 0) -> Entry:
    rng = np.random.default_rng(seed)
    planes = rng.integers(60, 75, (4, HEIGHT, WIDTH), dtype=np.uint16)
    target = rng.integers(0, 1 << 16, (2 * HEIGHT, 2 * WIDTH, 3), dtype=np.uint16)
    return Entry(pair(), planes, np.full(4, 64, np.float32), np.full(4, 1023, np.float32), target)


def test_a_crop_larger_than_a_tile_has_the_figures_of_the_whole_and_never_its_memory() -> None:
    torch.manual_seed(0)
    model, frame = build(architecture_of(RECIPE)), entry()
    with torch.no_grad():
        output = model(torch.from_numpy(patches.frame_input(frame, RECIPE))[None])[0].permute(1, 2, 0).numpy()
    target = patches.unit_target(frame.target)
    expected = {"val_l1": np.abs(output - target).mean(), "val_psnr_db": metrics.psnr_db(output, target)}
    computed: list[int] = []
    model.register_forward_pre_hook(lambda module, inputs: computed.append(inputs[0][0, 0].numel()))
    assert validating.means(model, [[frame]], RECIPE) == pytest.approx(expected, rel=1e-12)
    assert len(computed) > 1
    assert max(computed) <= tiles.BUDGET_PX < HEIGHT * WIDTH


def test_a_scene_counts_once_whatever_the_number_of_its_shorts() -> None:
    small = RECIPE.model_copy(update={"validation_crop": 16})
    torch.manual_seed(0)
    model, frames = build(architecture_of(small)), [entry(seed) for seed in range(3)]
    first, second, third = (validating.means(model, [[frame]], small)["val_psnr_db"] for frame in frames)
    found = validating.means(model, [frames[:2], frames[2:]], small)["val_psnr_db"]
    assert found == pytest.approx(((first + second) / 2 + third) / 2)
    assert found != pytest.approx((first + second + third) / 3)


def test_the_longest_name_that_a_file_can_have_is_no_obstacle_to_its_picture() -> None:
    pairs = [pair("ü" * 123 + end) for end in ("_00", "_01")]
    pictures = [validating.picture_name(each, 1000) for each in pairs]
    assert len(set(pictures)) == 2
    assert all(len(picture.encode()) <= 120 and picture.startswith("val-üü") for picture in pictures)
    assert validating.picture_name(pair(), 1000) == "val-00002_00-0001000.png"
