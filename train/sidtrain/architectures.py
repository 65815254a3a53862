"""The networks by name: See-in-the-Dark's U-Net, and what the two reports took out of it. No torch.

Each of them is the one U-Net of `weights.unet` with other numbers. The parameter counts of the ablations are those of
the seeds' TensorFlow code, whose transposed convolutions have no bias: `up_bias = false` in a recipe.
"""

from collections.abc import Mapping
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from sidcurate.schemas import described

# What a network puts out: the long frame as LibRaw renders it, or the planes of its mosaic.
Target = Literal["rendered", "raw"]

COLORS: Final = 3
BAYER_PLANES: Final = 4


class Architecture(BaseModel):
    """All that is needed to build the network; stands in every checkpoint. As it is by default: SID's for Bayer."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    in_planes: int = described("Planes of the packed input: 4 of a Bayer mosaic, 9 of an X-Trans.", default=4, ge=1)
    sites: Literal[2, 3] = described(
        "Mosaic sites along a side of a packed pixel, by which a rendering is larger: 2 for Bayer, 3 for X-Trans.",
        default=2,
    )
    target: Target = described(
        "What comes out: 'rendered', three colors at each mosaic site; 'raw', the planes that go in.",
        default="rendered",
    )
    width: int = described("Channels of the first level; each further level has twice as many.", default=32, ge=1)
    levels: int = described("Resolutions, the lowest one included.", default=5, ge=1)
    convolutions: int = described("3x3 convolutions a block.", default=2, ge=1)
    middle: int = described(
        "Blocks at the lowest resolution; with 0, what was pooled from the level above goes straight up.",
        default=1,
        ge=0,
    )
    up_bias: bool = described("Bias in the transposed convolutions, as PyTorch ports have it.", default=True)
    negative_slope: float = described("Slope of the leaky ReLU below zero.", default=0.2)

    @property
    def enlargement(self) -> int:
        """How many times larger than the planes the output is along a side."""
        return self.sites if self.target == "rendered" else 1

    @property
    def out_planes(self) -> int:
        """Channels of the last layer: three colors at each site of a packed pixel, or the planes."""
        return COLORS * self.sites**2 if self.target == "rendered" else self.in_planes

    @property
    def convolutions_by_level(self) -> tuple[int, ...]:
        """3x3 convolutions on the way down, from the first level to the lowest."""
        return (self.convolutions,) * (self.levels - 1) + (self.convolutions * self.middle,)

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels that enter the first level, then those that leave each: a level without convolutions keeps its own.

        >>> Architecture().channels
        (4, 32, 64, 128, 256, 512)
        >>> NETWORKS["a3"].channels
        (4, 32, 64, 128, 256, 256)
        """
        channels = [self.in_planes]
        for level, convolutions in enumerate(self.convolutions_by_level):
            channels.append(self.width << level if convolutions else channels[-1])
        return tuple(channels)


NETWORKS: Final[Mapping[str, Architecture]] = {
    "sid": Architecture(),
    "xtrans": Architecture(in_planes=9, sites=3),
    # The first report: the fourth level straight into up7.
    "seed1-ablation": Architecture(levels=4),
    # The second report, by its own numbers.
    "a1": Architecture(convolutions=1),
    "a2": Architecture(convolutions=3),
    "a3": Architecture(middle=0),
    "a4": Architecture(levels=4, middle=0),
    "a5": Architecture(levels=3, middle=0),
    "a6": Architecture(levels=2, middle=0),
    "a7": Architecture(levels=2),
    "a8": Architecture(levels=3),
    "a9": Architecture(levels=4),
    "a10": Architecture(levels=1, middle=0),
    "a11": Architecture(middle=3),
}
