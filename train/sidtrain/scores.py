"""The record of an evaluation: one score a picture, and what they say by scene, by ratio and against each other."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from sidcurate.schemas import Paths, Split, described
from sidtrain.baselines import Baseline
from sidtrain.intervals import Estimate, estimate, paired_difference, verdict
from sidtrain.metrics import SsimVariant

Picture = Literal["network"] | Baseline
Metric = Literal["psnr_db", "ssim"]

PICTURES: Final[tuple[Picture, ...]] = ("network", "amplified", "gaussian", "mean-color")
UNITS: Final[Mapping[Metric, str]] = {"psnr_db": "dB", "ssim": ""}
PROTOCOL: Final = "device-srgb-float-v1"
DEFINITION: Final = (
    "Full frames, single precision, each picture clipped to 0..1, against LibRaw's 16-bit rendering of the long frame "
    "(AHD, camera white balance, no auto-bright, sRGB primaries, BT.709 gamma), cropped to the RGGB phase. A scene is "
    "the mean over its shorts; the mean is over scenes. No correction of gain or color."
)


class _Frozen(BaseModel):
    """Immutable, no unknown field. Infinite values (equal pictures) are written as the string "Infinity"."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Score(_Frozen):
    """One picture of one short frame, compared with the target."""

    scene_id: str = described("Name of the scene.")
    pair_id: str = described("Name of the pair.")
    exposure_ratio: float = described("t_long / t_short of the nominal times.")
    amplification_ratio: float = described("What the short was multiplied by.")
    picture: Picture = described("What was compared with the target.")
    psnr_db: float = described("Peak signal-to-noise ratio, data range 1.", "dB")
    ssim: float = described("Structural similarity, in the variant of the evaluation.")


class Summary(_Frozen):
    """Means over the scenes of one picture."""

    picture: Picture = described("What was compared with the target.")
    exposure_ratio: float | None = described("Exposure ratio, to two digits; null over all.")
    images: int = described("Number of short frames.")
    psnr_db: Estimate = described("PSNR over the scenes.", "dB")
    ssim: Estimate = described("SSIM over the scenes.")


class Comparison(_Frozen):
    """The network less a trivial picture, paired by scene."""

    against: Baseline = described("The trivial picture.")
    metric: Metric = described("What is compared.")
    difference: Estimate = described("Network less the trivial picture, over the scenes.")
    verdict: str | None = described("What the difference shows; null under five scenes.")


class CheckpointUsed(_Frozen):
    """The checkpoint that was evaluated; a null is what nobody knows, as of imported weights."""

    sha256: str = described("SHA-256 of the weights.")
    device: str | None = described("Slug of the camera that it was trained for.")
    zero_shot: bool = described("Trained for another camera than the one that it is evaluated on.")
    unseen: bool = described("Whether it is certain that the network was trained on none of these scenes.")
    manifest_sums: dict[str, str] | None = described("SHA-256 of each table of the manifest that it was trained on.")
    step: int | None = described("Steps of its training.")
    initial_weights: str | None = described("'scratch', or what its training started from.")


class Evaluation(_Frozen):
    """What a checkpoint is worth on the scenes of a device that it has not seen."""

    schema_version: Literal[1] = described("Version of this record.", default=1)
    protocol: Literal["device-srgb-float-v1"] = described("Name of the protocol.", default=PROTOCOL)
    definition: str = described("The protocol in words.", default=DEFINITION)
    ssim_variant: SsimVariant = described("Window of the SSIM.")
    adjust_maximum_thr: float = described("LibRaw's threshold in the rendering of targets and trivial pictures.")
    device: str = described("Slug of the camera.")
    split: Split = described("Part of the data set.")
    manifest_sums: dict[str, str] = described("SHA-256 of each table of the manifest.")
    checkpoint: CheckpointUsed = described("The network.")
    left_out: Annotated[dict[str, Paths], Field(description="Pairs of the split left out, with the findings' codes.")]
    gaussian_sigma_px: float = described("Width of the Gaussian, chosen on training scenes.", "mosaic px")
    gaussian_sigmas_px: tuple[float, ...] = described("Widths that were tried.", "mosaic px")
    mean_color: tuple[float, float, float] = described("Mean R, G, B of the training targets, 0..1.")
    tools: dict[str, str] = described("Versions of the programs.")
    scores: tuple[Score, ...] = described("One row a picture and short frame.")
    summaries: tuple[Summary, ...] = described("Over all scenes, then by exposure ratio.")
    comparisons: tuple[Comparison, ...] = described("The network against each trivial picture.")


def nominal_ratio(exposure_ratio: float) -> float:
    """Return an exposure ratio to two digits, by which scores are grouped.

    >>> nominal_ratio(303.03), nominal_ratio(98.7), nominal_ratio(250.0)
    (300.0, 99.0, 250.0)
    """
    return float(f"{exposure_ratio:.2g}")


def summarize(scores: Sequence[Score]) -> tuple[Summary, ...]:
    """Return the summary of each picture over all scenes, then of each at each exposure ratio."""
    ratios = sorted({nominal_ratio(score.exposure_ratio) for score in scores})
    return tuple(_summary(scores, picture, ratio) for ratio in (None, *ratios) for picture in PICTURES)


def compare(scores: Sequence[Score]) -> tuple[Comparison, ...]:
    """Return the network's paired differences to each trivial picture, in PSNR and in SSIM."""
    return tuple(
        _comparison(scores, against, metric) for metric in UNITS for against in PICTURES if against != "network"
    )


def by_scene(scores: Iterable[Score], value: Callable[[Score], float]) -> dict[str, float]:
    """Return a value by scene: the mean over the scene's shorts."""
    values: dict[str, list[float]] = {}
    for score in scores:
        values.setdefault(score.scene_id, []).append(value(score))
    return {scene: sum(of_scene) / len(of_scene) for scene, of_scene in values.items()}


def _summary(scores: Sequence[Score], picture: Picture, ratio: float | None) -> Summary:
    rows = [s for s in scores if s.picture == picture and ratio in (None, nominal_ratio(s.exposure_ratio))]
    return Summary(
        picture=picture,
        exposure_ratio=ratio,
        images=len(rows),
        psnr_db=estimate(by_scene(rows, lambda score: score.psnr_db)),
        ssim=estimate(by_scene(rows, lambda score: score.ssim)),
    )


def _comparison(scores: Sequence[Score], against: Baseline, metric: Metric) -> Comparison:
    ours, theirs = (
        by_scene((s for s in scores if s.picture == picture), lambda score: float(getattr(score, metric)))
        for picture in ("network", against)
    )
    difference = paired_difference(ours, theirs)
    return Comparison(against=against, metric=metric, difference=difference, verdict=verdict(difference, UNITS[metric]))
