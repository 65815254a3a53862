"""The See-in-the-Dark U-Net: packed planes in, RGB at mosaic resolution out.

Chen et al., "Learning to See in the Dark", CVPR 2018, with the layers and initial weights of the published TensorFlow
code. TensorFlow's `depth_to_space` reads the last channels as (row, column, color), PyTorch's `PixelShuffle` as (color,
row, column): weights of the last layer must be permuted when they come from TensorFlow.
"""

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from sidcurate.schemas import described
from sidtrain.recipe import Recipe

_COLORS = 3
_SITES = 2  # sites of the Bayer pattern along a side: the output has twice the sides of the planes


class Architecture(BaseModel):
    """All that is needed to build the network; stands in every checkpoint."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    name: str = described("Family of the network.", default="sid")
    in_planes: int = described("Planes of the packed input.", default=4, ge=1)
    width: int = described("Channels of the first level.", default=32, ge=1)
    levels: int = described("Resolutions.", default=5, ge=2)
    up_bias: bool = described("Bias in the transposed convolutions.", default=True)
    negative_slope: float = described("Slope of the leaky ReLU below zero.", default=0.2)


class Unet(nn.Module):
    """U-Net of `levels` resolutions, two 3x3 convolutions each; any size of at least 1x1 goes in.

    Args:
        in_planes: planes of the packed input.
        width: channels of the first level, doubled at each further one.
        levels: number of resolutions.
        bias: give the transposed convolutions a bias, as the PyTorch ports do (480 more parameters at width 32).
        negative_slope: of the leaky ReLU.
    """

    def __init__(
        self, in_planes: int = 4, width: int = 32, levels: int = 5, bias: bool = True, negative_slope: float = 0.2
    ) -> None:
        super().__init__()
        widths = [width << level for level in range(levels)]  # SID: 32, 64, 128, 256, 512
        self.down = nn.ModuleList(
            _double(inner, outer, negative_slope)
            for inner, outer in zip([in_planes, *widths[:-1]], widths, strict=True)
        )
        # Pooling by ceiling is TensorFlow's SAME: odd sides keep their last row and column.
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        rising = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose2d(deep, flat, 2, stride=2, bias=bias) for deep, flat in rising)
        self.merge = nn.ModuleList(_double(2 * flat, flat, negative_slope) for _, flat in rising)
        self.last = nn.Conv2d(width, _COLORS * _SITES**2, 1)
        self.shuffle = nn.PixelShuffle(_SITES)
        self.apply(_initialize)

    def forward(self, planes: Float[Tensor, "n p h w"]) -> Float[Tensor, "n 3 h2 w2"]:
        """Return RGB at mosaic positions, linear in the last layer: not clipped."""
        x, skips = planes, []
        for level, double in enumerate(self.down):
            x = double(self.pool(x) if level else x)  # (n, width * 2^level, h / 2^level, w / 2^level), rounded up
            skips.append(x)
        for up, merge, skip in zip(self.up, self.merge, skips[-2::-1], strict=True):
            raised = up(x)[..., : skip.shape[-2], : skip.shape[-1]]  # cropped to the skip: (n, c, h_skip, w_skip)
            x = merge(torch.cat([raised, skip], dim=1))  # (n, c, h_skip, w_skip)
        rgb: Tensor = self.shuffle(self.last(x))  # (n, 12, h, w) -> (n, 3, 2h, 2w)
        return rgb


def build(architecture: Architecture) -> Unet:
    """Return the network that an architecture describes, with fresh weights from torch's generator."""
    return Unet(
        in_planes=architecture.in_planes,
        width=architecture.width,
        levels=architecture.levels,
        bias=architecture.up_bias,
        negative_slope=architecture.negative_slope,
    )


def architecture_of(recipe: Recipe) -> Architecture:
    """Return the architecture that a recipe asks for."""
    return Architecture(name=recipe.architecture, width=recipe.width, levels=recipe.levels, up_bias=recipe.up_bias)


def _double(inner: int, outer: int, negative_slope: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inner, outer, 3, padding=1),
        nn.LeakyReLU(negative_slope),
        nn.Conv2d(outer, outer, 3, padding=1),
        nn.LeakyReLU(negative_slope),
    )


def _initialize(layer: nn.Module) -> None:
    """Give a layer SID's initial weights: Xavier uniform, the transposed convolutions a truncated normal of 0.02."""
    if isinstance(layer, nn.ConvTranspose2d):
        nn.init.trunc_normal_(layer.weight, std=0.02, a=-0.04, b=0.04)
    elif isinstance(layer, nn.Conv2d):
        nn.init.xavier_uniform_(layer.weight)
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and layer.bias is not None:
        nn.init.zeros_(layer.bias)
