"""The Recipe: everything that decides what a training run does, with See-in-the-Dark's values as defaults. No torch.

Defaults are read from the published `train_Sony.py` of Chen et al., "Learning to See in the Dark", CVPR 2018.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from sidcurate.cfa import Packing
from sidcurate.errors import UsageError
from sidcurate.schemas import CfaKind, described
from sidtrain import amplification
from sidtrain.amplification import RatioPolicy
from sidtrain.architectures import BAYER_PLANES, NETWORKS, Target
from sidtrain.normalization import LevelsChoice, LevelsPolicy

# A wheel carries the recipes inside the package, a checkout beside it.
_INSTALLED = Path(__file__).parent / "recipes"
_FOLDER = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[1] / "recipes"

_SEEDS = "seeds"  # every run of the two reports that this program grew from

Schedule = Annotated[tuple[Annotated[tuple[int, float], Field(strict=False)], ...], Field(strict=False)]
DeviceType = Literal["auto", "cpu", "cuda", "mps"]
Sides = Annotated[tuple[int, ...], Field(strict=False)]
Black = Annotated[tuple[float, ...], Field(strict=False, min_length=1)]
Size = Annotated[tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]], Field(strict=False)]


class Recipe(BaseModel):
    """How to train: frozen, strict, and written into every checkpoint. An empty recipe is SID's own."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    architecture: str = described("Network, by its name in `sidtrain.architectures`.", default="sid")
    width: int = described("Channels of the first level; each further level has twice as many.", default=32, ge=1)
    resolutions: int | None = described(
        "Resolutions; null: as many as the network of that name has. At 8 the weights have 2 GB at width 32.",
        default=None,
        ge=1,
        le=8,
    )
    up_bias: bool = described("Bias in the transposed convolutions, as the PyTorch ports have it.", default=True)
    target: Target = described(
        "What the network learns to put out. 'rendered': LibRaw's rendering of the long frame, as SID. 'raw': the "
        "planes of the long frame, packed as its short, black at 0 and white at 1 by its own levels, clipped to 0..1, "
        "as in ELD, PMN and LED; `adjust_maximum_thr` then decides nothing.",
        default="rendered",
    )

    patch: int | Literal["fit"] | Sides = described(
        "Side of the square patch; 'fit' is the largest that every frame holds; of several, each step draws one.",
        "packed px",
        default=512,
    )
    offset_draw: Literal["sid-exclusive", "inclusive"] = described(
        "SID's draw never reaches the last row and column of offsets; 'inclusive' does.", default="sid-exclusive"
    )
    augmentation: Literal["sid", "phase-true", "none"] = described(
        "Flip rows, flip columns, transpose, each with p = 0.5. 'sid' turns the packed input as it is, so that the "
        "Bayer phase changes against the target. 'phase-true' turns the mosaic and moves input and target by one site "
        "where that keeps the phase; it needs a packed px more than the patch.",
        default="sid",
    )
    bursts: Literal["first", "all"] = described(
        "Shorts to draw from: the first frame of each burst, as SID does, or all.", default="first"
    )
    short_draw: Literal["all", "exclude-last"] = described(
        "'exclude-last' never draws the last short of a scene, as ports do whose random integer excludes its end.",
        default="all",
    )
    batch: int = described("Patches a step.", default=1, ge=1)

    packing: Packing = described(
        "'by-phase' crops mosaic and target to the phase of SID's planes; 'by-position' packs every mosaic as if it "
        "had that phase, as ports of SID do: other colors in each plane, shown for comparison.",
        default="by-phase",
    )
    crop: Size | None = described(
        "Height and width of the top left part of each mosaic and target that is used, at most; null: all of it.",
        "px",
        default=None,
    )
    ratio: str = described(
        "What the short is multiplied by. 'exif': the exposure ratio of the headers; 'name': that of the file names; "
        "'cap K': the exposure ratio of the headers, at most K, as SID does with 300; 'fixed K'; 'none': 1; 'random "
        "A-B': uniform, drawn for each patch, and the exposure ratio of the headers where a whole frame is judged.",
        default="cap 300",
    )
    levels: LevelsChoice = described(
        "Black and white of the input. 'declared': those of the file. 'measured': in training, to the declared black "
        "is added the zero error of the pair, by CFA position, which its two frames together tell. Validation, "
        "evaluation and `enhance` add what is known of a short frame alone: the median of the training pairs of this "
        "body, at its ISO where there are any. Where neither is known the declared black stays, and white is always "
        "the declared one. 'override': `black_override` and `bits_override`.",
        default="declared",
    )
    black_override: float | Black | None = described(
        "With levels = 'override': black, one value or one by CFA position; null: the declared one.", "DN", default=None
    )
    bits_override: int | None = described(
        "With levels = 'override': bits of a code, white is 2^bits - 1; null: the declared white.",
        "bit",
        default=None,
        ge=1,
        le=16,
    )
    input_clip: float = described("Upper clip of the amplified input; white is 1.", default=1.0, gt=0)
    adjust_maximum_thr: float = described(
        "LibRaw's threshold of the target's rendering: above this share of white the picture's own maximum becomes "
        "white. 0.75 is LibRaw's default and SID's; 0 turns it off; LibRaw takes 1 for 0.75.",
        default=0.75,
        ge=0,
        lt=1,
    )
    white_balance: Literal["camera", "fixed"] = described(
        "Multipliers of the target's rendering. 'camera': those of each long frame, as SID. 'fixed': for the whole "
        "device the medians of red and of blue over the long frames of its training pairs.",
        default="camera",
    )

    loss: Literal["l1", "l2", "l2_half_sum"] = described(
        "Of the unclipped output: mean absolute error, mean squared error, or half the sum of the squared errors of a "
        "patch, averaged over the batch.",
        default="l1",
    )
    unit: Literal["epochs", "steps"] = described("Unit of `duration` and `schedule`.", default="epochs")
    duration: int = described("Length of the training; SID runs epochs 0 to 4000 inclusive.", default=4001, ge=1)
    schedule: Schedule = described(
        "(from, rate): Adam's learning rate from then on.", default=((0, 1e-4), (2001, 1e-5))
    )
    seed: int = described("Seed of initial weights and of every draw.", default=0, ge=0, lt=1 << 64)

    device_type: DeviceType = described("Where to compute; 'auto' is a GPU where there is one.", default="auto")

    keep: Literal["last", "best"] = described(
        "Checkpoint that the run leaves: the last, as SID, or the best PSNR on the validation scenes.", default="last"
    )
    validate_every: int = described("Steps between validations, each with a saved state.", "step", default=1000, ge=1)
    validation_crop: int = described(
        "Side of the central crop that validation looks at, at most.", "packed px", default=1024, ge=1
    )

    @field_validator("patch", mode="before")
    @classmethod
    def _check_patch(cls, patch: object) -> object:
        sides = patch if isinstance(patch, list | tuple) else [patch]
        whole = bool(sides) and all(type(side) is int and side >= 1 for side in sides)
        if patch != "fit" and not whole:
            raise ValueError(f"must be a side of at least 1 packed px, a list of such sides, or 'fit', it is {patch!r}")
        return patch

    @field_validator("ratio")
    @classmethod
    def _check_ratio(cls, ratio: str) -> str:
        amplification.parse(ratio)
        return ratio

    @model_validator(mode="after")
    def _check(self) -> "Recipe":
        starts = [start for start, _ in self.schedule]
        if not starts or starts[0] != 0 or starts != sorted(set(starts)):
            raise ValueError(f"schedule must start at 0 and rise, it starts at {starts}")
        if any(rate <= 0 for _, rate in self.schedule):
            raise ValueError("schedule has a learning rate that is not positive")
        if self.architecture not in NETWORKS:
            raise ValueError(f"architecture {self.architecture!r} is none of {', '.join(NETWORKS)}")
        if self.target == "raw" and self.white_balance == "fixed":
            raise ValueError("white_balance 'fixed' is of a rendering, target 'raw' has none; leave one of them out")
        self._check_augmentation()
        self._check_levels()
        return self

    def _check_augmentation(self) -> None:
        if self.augmentation != "phase-true":
            return
        if NETWORKS[self.architecture].in_planes != BAYER_PLANES or self.packing != "by-phase":
            raise ValueError("augmentation 'phase-true' is for Bayer mosaics packed by phase; use 'sid' or 'none'")

    def _check_levels(self) -> None:
        given = [name for name in ("black_override", "bits_override") if getattr(self, name) is not None]
        if (self.levels == "override") != bool(given):
            raise ValueError(
                f"levels is {self.levels!r}, with {' and '.join(given) or 'neither black_override nor bits_override'}: "
                "give one or both of them with levels = 'override', and only then"
            )

    @property
    def sides(self) -> tuple[int, ...]:
        """Sides of a patch that a step draws from, in packed px; none when it is the frames that decide."""
        if self.patch == "fit":
            return ()
        return (self.patch,) if isinstance(self.patch, int) else self.patch

    @property
    def cfa_kind(self) -> CfaKind:
        """The color filter arrays that the network takes."""
        return "bayer" if NETWORKS[self.architecture].in_planes == BAYER_PLANES else "xtrans"

    @property
    def ratio_policy(self) -> RatioPolicy:
        """What `ratio` says."""
        return amplification.parse(self.ratio)

    @property
    def levels_policy(self) -> LevelsPolicy:
        """What `levels` and the overrides say."""
        black = self.black_override
        return LevelsPolicy(self.levels, (black,) if isinstance(black, int | float) else black, self.bits_override)

    @property
    def identity(self) -> str:
        """All that it does, as JSON: recipes that differ only in where they compute have the same."""
        return self.model_dump_json(exclude={"device_type"})

    def steps(self, scenes: int) -> int:
        """Return the number of steps of the whole training on so many scenes; an epoch visits each scene once."""
        return self.duration if self.unit == "steps" else -(-self.duration * scenes // self.batch)

    def rate(self, step: int, scenes: int) -> float:
        """Return the learning rate of a step (from 0)."""
        now = step if self.unit == "steps" else step * self.batch // scenes
        return next(rate for start, rate in reversed(self.schedule) if now >= start)


def known() -> dict[str, Path]:
    """Return the recipes that come with the program, by name: those to use, then the runs of the two reports."""
    folders = (_FOLDER, _FOLDER / _SEEDS)
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.toml"), key=lambda path: path.stem)}


def load(path_or_name: str | Path) -> Recipe:
    """Return a recipe from a TOML file, or one that comes with the program by its name ("sid", "device", "seed2-lr7").

    A file can say `base = "device"`: what it does not give is then that recipe's instead of SID's.

    Raises:
        UsageError: no such recipe, no TOML, or a field that is wrong.
    """
    path = known().get(str(path_or_name), Path(path_or_name))
    if not path.is_file():
        raise UsageError(f"no recipe {str(path_or_name)!r}: give a TOML file or one of {_choice(str(path_or_name))}")
    try:
        return Recipe.model_validate(_fields(path))
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc'])) or 'recipe'}: {_words(fault)}" for fault in error.errors()]
        raise UsageError(f"{path}: {'; '.join(faults)}; fields: base, {', '.join(Recipe.model_fields)}") from error


def _words(fault: ErrorDetails) -> str:
    return "no such field" if fault["type"] == "extra_forbidden" else fault["msg"].removeprefix("Value error, ")


def _fields(path: Path) -> dict[str, Any]:
    """Return what a file gives, over what its base gives."""
    try:
        own = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}; correct it there") from error
    base = own.pop("base", None)
    if base is None:
        return own
    if base not in known():
        raise UsageError(f"{path}: no recipe {base!r} comes with the program; give base as one of {_choice(str(base))}")
    return _fields(known()[base]) | own


def _choice(asked: str) -> str:
    """Return the names to choose from; those of the reports' many runs only to who asks for one of them."""
    names = [name for name, path in known().items() if path.parent.name != _SEEDS or asked.startswith("seed")]
    return ", ".join(names if asked.startswith("seed") else [*names, "seed1-... or seed2-... (a run of the reports)"])
