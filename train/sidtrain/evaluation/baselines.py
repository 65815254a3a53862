"""Three trivial pictures of a short frame: what a network must beat before its number means anything.

A black or blurred picture often has a better PSNR than the plainly amplified frame: beating one of the three proves
nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float32, UInt16
from scipy.ndimage import gaussian_filter

from sidcurate import cfa, files
from sidcurate.errors import UsageError
from sidcurate.raws import raw
from sidcurate.schemas import Capture, Pair
from sidtrain import normalization
from sidtrain.data.patches import amplification_ratio, network_input, target_picture, unit_target
from sidtrain.data.store import Entry, StoreSettings
from sidtrain.evaluation.metrics import psnr_db
from sidtrain.normalization import DECLARED, Levels
from sidtrain.recipe import Recipe

TRIVIAL: Final = ("amplified", "gaussian", "mean-color")
# Half-octave steps from no visible blur to a picture of blobs, in px of the target.
SIGMAS_PX: Final = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.7, 8.0, 11.0, 16.0, 23.0, 32.0)
# Enough training frames to choose one width; a center of this side says what the whole frame would.
_TUNING_FRAMES, _TUNING_SIDE = 24, 1024


@dataclass(frozen=True)
class Raws:
    """Where the raws of a manifest are, what it says of them, and how they are prepared."""

    root: Path
    captures: Mapping[str, Capture]
    recipe: Recipe
    settings: StoreSettings


@dataclass(frozen=True)
class Baselines:
    """What the trivial pictures learned from the training scenes."""

    raws: Raws
    sigma_px: float
    mean_color: tuple[float, ...]

    def pictures(self, entry: Entry) -> dict[str, Float32[np.ndarray, "h w c"]]:
        """Return the three pictures of a short frame in 0..1, of the size of its target."""
        picture = as_target(entry, self.raws, amplification_ratio(entry, self.raws.recipe))
        flat = np.broadcast_to(np.asarray(self.mean_color, np.float32), entry.target.shape)
        return dict(zip(TRIVIAL, (picture, blurred(picture, self.sigma_px), flat), strict=True))


def lessons(training: Sequence[Pair]) -> list[Pair]:
    """Return the training pairs that `learn` needs, of all that there are: the others need not be decoded.

    At most 24, evenly spaced in their order, to choose the blur; then one of each other long frame, for the color.
    """
    places = sorted({*np.linspace(0, len(training) - 1, _TUNING_FRAMES).round().astype(int)})
    tried = [training[place] for place in places]
    others = {pair.long_path: pair for pair in training}
    for pair in tried:
        others.pop(pair.long_path, None)
    return [*tried, *others.values()]


def learn(
    training: Sequence[Entry], raws: Raws, progress: Callable[[int, int], None] = lambda done, total: None
) -> Baselines:
    """Return the baselines with the blur and the color that serve the training scenes best.

    Args:
        training: entries of the pairs that `lessons` returned, at least one. The blur is chosen on the first 24 of
            them, on the central 1024 px; the color is the mean over all targets.
        raws: where to read and how to render.
        progress: called with the count of frames tried and of frames to try.
    """
    tried = training[:_TUNING_FRAMES]
    psnrs = []
    for done, entry in enumerate(tried):
        progress(done, len(tried))
        picture = as_target(entry, raws, amplification_ratio(entry, raws.recipe))
        target = target_picture(replace(entry, target=_center(entry.target)))
        psnrs.append([psnr_db(blurred(_center(picture), sigma), target) for sigma in SIGMAS_PX])
    progress(len(tried), len(tried))
    return Baselines(raws, SIGMAS_PX[int(np.mean(psnrs, axis=0).argmax())], mean_color(training))


def as_target(entry: Entry, raws: Raws, ratio: float) -> Float32[np.ndarray, "h w c"]:
    """Return the amplified short frame in 0..1, made as its target is: rendered, or its planes by its own levels."""
    if raws.settings.target == "raw":
        return network_input(entry.planes, entry.black, entry.white, ratio).transpose(1, 2, 0)
    return amplified(entry.pair, raws, ratio)


def amplified(pair: Pair, raws: Raws, ratio: float) -> Float32[np.ndarray, "h w 3"]:
    """Return LibRaw's rendering of the amplified short frame, in 0..1, cropped as its target.

    Levels are those that the network gets; white balance, gamma and clip are those of the target. A ratio of 1 gives
    the short as it was shot.
    """
    short, long = raws.captures[pair.short_path], raws.captures[pair.long_path]
    content, name = files.content(raws.root, short), Path(short.path).name
    mosaic = raw.decode(content, name).mosaic
    if mosaic is None or short.cfa is None:
        raise UsageError(f"{short.path}: no mosaic to amplify; run `sidcurate validate` and leave it out")
    settings = raws.settings
    declared = normalization.levels(pair, short, DECLARED)
    bright = amplified_mosaic(mosaic, declared, ratio, normalization.levels(pair, short, settings.levels))
    image = raw.rendered(
        content,
        name,
        bright,
        adjust_maximum_thr=settings.adjust_maximum_thr,
        white_balance=settings.white_balance or long.white_balance,
    ).image
    height, width = settings.crop or mosaic.shape
    return unit_target(cfa.layout(short.cfa, settings.packing).crop(image[:height, :width]))


def amplified_mosaic(
    mosaic: UInt16[np.ndarray, "h w"], declared: Levels, ratio: float, true: Levels | None = None
) -> UInt16[np.ndarray, "h w"]:
    """Return the mosaic whose signal above black is multiplied by a ratio and clipped at black and white.

    Args:
        mosaic: DN.
        declared: levels that the result is held to.
        ratio: factor of the signal.
        true: levels that the signal is counted by; the declared ones by default.
    """
    result, true = np.empty_like(mosaic), true or declared
    levels = (_by_site(values) for values in (declared.black, declared.white, true.black, true.white))
    for source, site, black, white, zero, full in zip(cfa.sites(mosaic), cfa.sites(result), *levels, strict=True):
        gain = np.float32(ratio * (white - black) / (full - zero))
        signal = (source.astype(np.float32) - np.float32(zero)) * gain
        site[...] = np.rint(np.clip(signal + np.float32(black), black, white))
    return result


def _by_site(values: tuple[float, ...]) -> tuple[float, ...]:
    """Return values by 2x2 position; one value is that of all sites."""
    return values * (4 // len(values))


def blurred(picture: Float32[np.ndarray, "h w c"], sigma_px: float) -> Float32[np.ndarray, "h w c"]:
    """Return a picture after a Gaussian of a standard deviation in its own px."""
    result: Float32[np.ndarray, "h w c"] = gaussian_filter(picture, (sigma_px, sigma_px, 0))
    return result


def mean_color(entries: Sequence[Entry]) -> tuple[float, ...]:
    """Return the mean R, G, B, or of each plane, in 0..1 over the targets, each long frame counted once."""
    by_long = {entry.pair.long_path: entry for entry in entries}.values()
    means = [target_picture(entry).mean(axis=0, dtype=np.float64).mean(axis=0) for entry in by_long]
    return tuple(np.mean(means, axis=0).tolist())


def _center(image: np.ndarray) -> np.ndarray:
    top, left = (max(0, size - _TUNING_SIDE) // 2 for size in image.shape[:2])
    return image[top : top + _TUNING_SIDE, left : left + _TUNING_SIDE]
