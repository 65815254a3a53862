"""The See-in-the-Dark U-Net: packed planes in, RGB at mosaic resolution out, or the planes again.

Chen et al., "Learning to See in the Dark", CVPR 2018, with the layers and initial weights of the published TensorFlow
code. TensorFlow's `depth_to_space` reads the last channels as (row, column, color), PyTorch's `PixelShuffle` as (color,
row, column): weights of the last layer must be permuted when they come from TensorFlow.

From raw to raw, as in Wei et al., "A Physics-based Noise Formation Model for Extreme Low-light Raw Denoising", CVPR
2020, the last layer has a channel for each plane that goes in, and nothing is shuffled.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sidtrain.architectures import NETWORKS, Architecture
from sidtrain.recipe import Recipe


class Unet(nn.Module):
    """U-Net of an architecture; any size of at least 1x1 goes in.

    `down` holds the convolutions of each level, the lowest last; `up` and `merge` the transposed convolutions and the
    convolutions after each, from the lowest level to the first.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        entering, *leaving = architecture.channels  # SID: 4, then 32, 64, 128, 256, 512
        slope = architecture.negative_slope
        self.down = nn.ModuleList(
            _block(inner, outer, convolutions, slope)
            for inner, outer, convolutions in zip(
                [entering, *leaving[:-1]], leaving, architecture.convolutions_by_level, strict=True
            )
        )
        # Pooling by ceiling is TensorFlow's SAME: odd sides keep their last row and column.
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        rising = list(zip(leaving[:0:-1], leaving[-2::-1], strict=True))
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(deep, flat, 2, stride=2, bias=architecture.up_bias) for deep, flat in rising
        )
        self.merge = nn.ModuleList(_block(2 * flat, flat, architecture.convolutions, slope) for _, flat in rising)
        self.last = nn.Conv2d(leaving[0], architecture.out_planes, 1)
        self.shuffle = nn.PixelShuffle(architecture.enlargement)  # of planes by 1: they stay as they are
        self.apply(_initialize)

    def forward(self, planes: Float[Tensor, "n p h w"]) -> Float[Tensor, "n c sh sw"]:
        """Return RGB at mosaic positions, or planes, linear in the last layer: not clipped."""
        x, skips = planes, []
        for level, block in enumerate(self.down):
            x = block(self.pool(x) if level else x)  # (n, width * 2^level, h / 2^level, w / 2^level), rounded up
            skips.append(x)
        for up, merge, skip in zip(self.up, self.merge, skips[-2::-1], strict=True):
            raised = up(x)[..., : skip.shape[-2], : skip.shape[-1]]  # cropped to the skip: (n, c, h_skip, w_skip)
            x = merge(torch.cat([raised, skip], dim=1))  # (n, c, h_skip, w_skip)
        output: Tensor = self.shuffle(self.last(x))  # (n, c s^2, h, w) -> (n, c, s h, s w); RGB of Bayer: c = 3, s = 2
        return output


def build(architecture: Architecture) -> Unet:
    """Return the network that an architecture describes, with fresh weights from torch's generator."""
    return Unet(architecture)


def architecture_of(recipe: Recipe) -> Architecture:
    """Return the architecture that a recipe asks for: the named one, with what the recipe says of it itself."""
    named = NETWORKS[recipe.architecture]
    levels = named.levels if recipe.resolutions is None else recipe.resolutions
    own = {"width": recipe.width, "levels": levels, "up_bias": recipe.up_bias, "target": recipe.target}
    return named.model_copy(update=own)


def _block(inner: int, outer: int, convolutions: int, negative_slope: float) -> nn.Sequential:
    """Return so many 3x3 convolutions, each with its leaky ReLU; without any, what goes in comes out."""
    layers: list[nn.Module] = []
    for place in range(convolutions):
        layers += [nn.Conv2d(outer if place else inner, outer, 3, padding=1), nn.LeakyReLU(negative_slope)]
    return nn.Sequential(*layers)


def _initialize(layer: nn.Module) -> None:
    """Give a layer SID's initial weights: Xavier uniform, the transposed convolutions a truncated normal of 0.02."""
    if isinstance(layer, nn.ConvTranspose2d):
        nn.init.trunc_normal_(layer.weight, std=0.02, a=-0.04, b=0.04)
    elif isinstance(layer, nn.Conv2d):
        nn.init.xavier_uniform_(layer.weight)
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and layer.bias is not None:
        nn.init.zeros_(layer.bias)
