"""Tiles: the picture of a frame in pieces is the picture of the frame."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from sidtrain.architectures import Architecture
from sidtrain.evaluation import tiles
from sidtrain.weights.unet import Unet


def network(**options) -> Unet:
    torch.manual_seed(0)
    return Unet(Architecture(**options)).eval()


def whole(model: Unet, planes: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return model(torch.from_numpy(planes)[None])[0].permute(1, 2, 0).numpy()


def frame(height: int, width: int, planes: int = 4) -> np.ndarray:
    return np.random.default_rng(0).random((planes, height, width), dtype=np.float32)


def with_convolutions(down: tuple[int, ...], merge: tuple[int, ...]) -> Unet:
    """Return a narrow network whose blocks have so many 3x3 convolutions, `merge` from the lowest level up."""
    model = network(width=2, levels=len(down))
    for blocks, counts in ((model.down, down), (model.merge, merge)):
        for place, (block, count) in enumerate(zip(blocks, counts, strict=True)):
            inner, outer = block[0].in_channels, block[0].out_channels
            sides = [3] * count or [1]
            blocks[place] = nn.Sequential(
                *(
                    nn.Conv2d(outer if number else inner, outer, side, padding=side // 2)
                    for number, side in enumerate(sides)
                )
            )
    return model.eval()


@pytest.mark.parametrize(
    ("down", "merge", "expected"),
    [
        ((2, 2, 2, 2, 2), (2, 2, 2, 2), 96),
        ((3, 3, 3, 3, 3), (3, 3, 3, 3), 144),
        ((1, 1, 1, 1, 1), (1, 1, 1, 1), 48),
        ((2, 2, 2, 2, 0), (2, 2, 2, 2), 64),
        ((2, 2), (2,), 8),
        ((0,), (), 0),
    ],
)
def test_the_halo_follows_from_the_layers(down, merge, expected):
    assert tiles.halo(with_convolutions(down, merge)) == expected


@pytest.mark.parametrize("down", [(2, 2, 2), (3, 3, 3), (1, 1, 1), (2, 2, 0)])
def test_the_halo_is_the_reach_of_the_network_and_not_a_step_more(down):
    # No light that falls outside the halo of an aligned tile changes it; some light in its outermost step does.
    model = with_convolutions(down, (2, 2)).double()
    halo, step = tiles.halo(model), tiles.alignment(model)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.weight.data.abs_().add_(0.1)  # so that nothing is cut off by the leaky ReLU
    start = 64
    dark = torch.zeros(1, 4, 4, 2 * start, dtype=torch.float64)
    outside, outermost = dark.clone(), dark.clone()
    outside[..., : start - halo] = 1
    outermost[..., start - halo : start - halo + step] = 1
    with torch.inference_mode():
        pictures = [model(x)[..., 2 * start :] for x in (dark, outside, outermost)]
    assert torch.equal(pictures[0], pictures[1])
    assert not torch.equal(pictures[0], pictures[2])


def test_the_picture_of_sid_s_network_is_the_whole_frame_s_to_the_last_bit():
    model, planes = network(width=32, levels=5), frame(211, 150)  # neither side a multiple of 16
    budget = 160 * 160
    assert len(list(tiles.grid(211, 150, 96, 16, budget))) > 1
    assert np.array_equal(tiles.picture(model, planes, budget_px=budget), whole(model, planes))


def test_in_channels_last_layout_it_is_the_whole_frame_s_but_for_rounding():
    model, planes = network(width=32, levels=5).to(memory_format=torch.channels_last), frame(211, 150)
    difference = np.abs(tiles.picture(model, planes, budget_px=160 * 160) - whole(model, planes))
    assert difference.max() <= 1e-5


@pytest.mark.parametrize(("height", "width"), list(itertools.product((1, 17, 31, 64, 101), (1, 33, 75))))
def test_any_size_is_the_whole_frame_s(height, width):
    model, planes = network(width=4, levels=3), frame(height, width)
    difference = np.abs(tiles.picture(model, planes, budget_px=56 * 56) - whole(model, planes))
    assert difference.max() < 1e-6  # kernels for so few channels round by the width of the tile


def test_zero_padding_would_be_another_picture():
    model, planes = network(width=4, levels=3), frame(101, 75)
    padded = np.pad(planes, ((0, 0), (0, 3), (0, 1)))
    assert np.abs(whole(model, padded)[:202, :150] - tiles.picture(model, planes)).max() > 1e-3


@pytest.mark.parametrize("size", [(1424, 2128), (2000, 3000), (100, 9000), (7, 5)])
def test_the_tiles_cover_the_frame_once_on_the_grid_and_within_the_budget(size):
    seen = np.zeros(size, np.uint8)
    for rows, columns in tiles.grid(*size, 96, 16, tiles.BUDGET_PX):
        seen[rows.shown, columns.shown] += 1
        for span in (rows, columns):
            assert span.computed.start % 16 == span.shown.start % 16 == 0
        computed = [span.computed.stop - span.computed.start for span in (rows, columns)]
        assert computed[0] * computed[1] <= tiles.BUDGET_PX
    assert np.all(seen == 1)


def test_a_budget_that_the_halo_exceeds_takes_the_smallest_tiles():
    (rows, columns), *_ = tiles.grid(512, 512, 96, 16, budget_px=1)
    assert (rows.shown, columns.shown) == (slice(0, 16), slice(0, 16))


def test_progress_counts_the_tiles():
    calls = []
    tiles.picture(network(width=2, levels=2), frame(60, 20), lambda *call: calls.append(call), budget_px=32 * 20)
    assert calls[0] == (0, calls[-1][1])
    assert calls[-1][0] == calls[-1][1] == len(calls) - 1 > 1
