"""The record of an evaluation: one score a picture, and what they say by scene, by ratio and against each other."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from sidcurate.errors import UsageError
from sidcurate.schemas import Paths, Split, described
from sidtrain.evaluation.intervals import Estimate, estimate, paired_difference, verdict
from sidtrain.evaluation.metrics import SsimVariant
from sidtrain.evaluation.protocols import Alignment
from sidtrain.normalization import LevelsSource

Metric = Literal["psnr_db", "ssim"]
Origin = Literal["from scratch", "fine-tuned", "zero-shot", "imported"]

NETWORK: Final = "network"  # A single checkpoint needs no name of its own.
UNITS: Final[Mapping[Metric, str]] = {"psnr_db": "dB", "ssim": ""}


class _Frozen(BaseModel):
    """Immutable, no unknown field. Infinite values (equal pictures) are written as the string "Infinity"."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Score(_Frozen):
    """One picture of one short frame, compared with the target."""

    protocol: str = described("Name of the protocol that the figures belong to.")
    scene_id: str = described("Name of the scene.")
    pair_id: str = described("Name of the pair.")
    exposure_ratio: float = described("t_long / t_short of the nominal times.")
    amplification_ratio: float = described("What the short was multiplied by.")
    picture: str = described("What was compared with the target: a network's name, or a trivial picture.")
    psnr_db: float = described("Peak signal-to-noise ratio, by the protocol.", "dB")
    psnr_aligned_db: float | None = described(
        "The same after one gain by least squares for each color channel, which forgives a wrong exposure or white "
        "balance, or under raw for the whole frame, which forgives a wrong exposure; null where the protocol has none.",
        "dB",
    )
    ssim: float = described("Structural similarity, in the variant of the evaluation.")


class Summary(_Frozen):
    """Means over the scenes of one picture."""

    protocol: str = described("Name of the protocol that the figures belong to.")
    picture: str = described("What was compared with the target.")
    exposure_ratio: float | None = described("Exposure ratio, to two digits; null over all.")
    images: int = described("Number of short frames.")
    psnr_db: Estimate = described("PSNR over the scenes.", "dB")
    psnr_aligned_db: Estimate | None = described("PSNR after alignment, over the scenes.", "dB")
    ssim: Estimate = described("SSIM over the scenes.")


class Comparison(_Frozen):
    """A network less another picture, paired by scene."""

    protocol: str = described("Name of the protocol that the figures belong to.")
    picture: str = described("The network.")
    against: str = described("A trivial picture, or another network.")
    metric: Metric = described("What is compared.")
    difference: Estimate = described("The network less the other, over the scenes.")
    verdict: str | None = described("What the difference shows; null under five scenes.")


class NetworkUsed(_Frozen):
    """A checkpoint that was evaluated; a null is what nobody knows, as of imported weights."""

    name: str = described("Name of the network in this record.")
    sha256: str = described("SHA-256 of the weights.")
    device: str | None = described("Slug of the camera that it was trained for.")
    origin: Origin = described("Zero-shot when it was trained for another camera; else whether it began with weights.")
    unseen: bool = described("Whether it is certain that the network was trained on none of these scenes.")
    manifest_sums: dict[str, str] | None = described("SHA-256 of each table of the manifest that it was trained on.")
    step: int | None = described("Steps of its training.")
    initial_weights: str | None = described("'scratch', or what its training started from.")
    levels: Annotated[
        dict[LevelsSource, int],
        Field(
            description="Frames judged, by where the black of the input came from: 'declared' by the file, 'device': "
            "that plus the median zero error of the network's training pairs, 'override' of the recipe. Never from "
            "the pair itself: nobody who has one short raw has that."
        ),
    ]


class Evaluation(_Frozen):
    """What networks are worth on the scenes of a device that none of them has seen."""

    schema_version: Literal[3] = described("Version of this record.", default=3)
    protocol: str = described("Name of the protocol.")
    definition: str = described("The protocol in words: space, frames, correction, metrics.")
    ssim_variant: SsimVariant = described("Window of the SSIM.")
    alignment: Alignment | None = described(
        "What `psnr_aligned_db` fits one gain for: each 'color', or the whole 'frame'; null where there is none. "
        "Records that do not say it have 'color'.",
        default="color",
    )
    adjust_maximum_thr: float | None = described(
        "LibRaw's threshold in the rendering of targets and trivial pictures; null where nothing is rendered."
    )
    device: str = described("Slug of the camera.")
    split: Split = described("Part of the data set.")
    manifest_sums: dict[str, str] = described("SHA-256 of each table of the manifest.")
    networks: tuple[NetworkUsed, ...] = described(
        "The networks; the trivial pictures are amplified as the first's input."
    )
    left_out: Annotated[dict[str, Paths], Field(description="Pairs of the split left out, with the findings' codes.")]
    outside_protocol: Paths = described("Pairs of the split that the protocol does not judge.")
    gaussian_sigma_px: float = described(
        "Width of the Gaussian, chosen on training scenes.", "px of the target: of planes, packed px"
    )
    gaussian_sigmas_px: tuple[float, ...] = described("Widths that were tried.", "px of the target")
    mean_color: tuple[float, ...] = described("Mean of the training targets, 0..1: of R, G, B, or of each plane.")
    tools: dict[str, str] = described("Versions of the programs.")
    scores: tuple[Score, ...] = described("One row a picture and short frame.")
    summaries: tuple[Summary, ...] = described("Over all scenes, then by exposure ratio.")
    comparisons: tuple[Comparison, ...] = described("Each network against each trivial picture and the other networks.")
    worst_scenes: Paths = described("Scenes in which the first network's PSNR is lowest, the lowest first.")


def nominal_ratio(exposure_ratio: float) -> float:
    """Return an exposure ratio to two digits, by which scores are grouped.

    >>> nominal_ratio(303.03), nominal_ratio(98.7), nominal_ratio(250.0)
    (300.0, 99.0, 250.0)
    """
    return float(f"{exposure_ratio:.2g}")


def summarize(scores: Sequence[Score]) -> tuple[Summary, ...]:
    """Return the summary of each picture over all scenes, then of each at each exposure ratio.

    Raises:
        UsageError: the scores belong to more than one protocol.
    """
    protocol = _one_protocol(scores)
    pictures = dict.fromkeys(score.picture for score in scores)
    ratios = sorted({nominal_ratio(score.exposure_ratio) for score in scores})
    return tuple(_summary(scores, protocol, picture, ratio) for ratio in (None, *ratios) for picture in pictures)


def compare(scores: Sequence[Score], networks: Sequence[str]) -> tuple[Comparison, ...]:
    """Return the paired differences of each network to each other picture, in PSNR and in SSIM.

    Two networks are compared once, the earlier against the later.

    Raises:
        UsageError: the scores belong to more than one protocol.
    """
    protocol = _one_protocol(scores)
    trivial = [picture for picture in dict.fromkeys(score.picture for score in scores) if picture not in networks]
    pairs = [*((network, picture) for network in networks for picture in trivial), *combinations(networks, 2)]
    return tuple(_comparison(scores, protocol, *pair, metric) for metric in UNITS for pair in pairs)


def from_worst(scores: Iterable[Score], picture: str) -> list[str]:
    """Return the scenes from the lowest PSNR of a picture to the highest."""
    means = _values((score for score in scores if score.picture == picture), "psnr_db")
    return sorted(means, key=lambda scene: (means[scene], scene))


def _values(scores: Iterable[Score], field: str) -> dict[str, float]:
    """Return a figure by scene: the mean over the scene's shorts."""
    values: dict[str, list[float]] = {}
    for score in scores:
        values.setdefault(score.scene_id, []).append(float(getattr(score, field)))
    return {scene: sum(of_scene) / len(of_scene) for scene, of_scene in values.items()}


def _one_protocol(scores: Iterable[Score]) -> str:
    found = sorted({score.protocol for score in scores})
    if len(found) != 1:
        raise UsageError(
            f"figures of {len(found)} protocols ({', '.join(found)}) do not go into one table: they differ in space, "
            "frames or arithmetic; evaluate again under one of them"
        )
    return found[0]


def _summary(scores: Sequence[Score], protocol: str, picture: str, ratio: float | None) -> Summary:
    rows = [s for s in scores if s.picture == picture and ratio in (None, nominal_ratio(s.exposure_ratio))]
    aligned = all(row.psnr_aligned_db is not None for row in rows)
    return Summary(
        protocol=protocol,
        picture=picture,
        exposure_ratio=ratio,
        images=len(rows),
        psnr_db=estimate(_values(rows, "psnr_db")),
        psnr_aligned_db=estimate(_values(rows, "psnr_aligned_db")) if aligned else None,
        ssim=estimate(_values(rows, "ssim")),
    )


def _comparison(scores: Sequence[Score], protocol: str, picture: str, against: str, metric: Metric) -> Comparison:
    ours, theirs = (_values((s for s in scores if s.picture == name), metric) for name in (picture, against))
    difference = paired_difference(ours, theirs)
    return Comparison(
        protocol=protocol,
        picture=picture,
        against=against,
        metric=metric,
        difference=difference,
        verdict=verdict(difference, UNITS[metric]),
    )
