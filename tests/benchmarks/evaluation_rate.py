"""What an evaluation costs: its SSIM, its tiles, and all of it but the network, each beside a plain way to the same."""

import functools
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import rawpy
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

from sidcurate import memory
from sidcurate.ingest.folder import ingest
from sidcurate.manifests import load
from sidtrain.data import patches, store
from sidtrain.evaluation import metrics, protocols, tiles
from sidtrain.recipe import Recipe
from sidtrain.weights.unet import Unet, architecture_of, build
from tests.benchmarks.memory import extra_bytes
from tests.benchmarks.patch_rate import make_pair
from tests.benchmarks.timing import Row, core_seconds, rounds, row, script

HEIGHT, WIDTH = 2848, 4256  # SID's Sony frames, 12 MP
AGREEMENT = 1e-6


def run() -> Iterator[Row]:
    """Yield the ratios of SSIM, of a frame in tiles, and of an evaluated frame without its network."""
    yield from ssim_rows()
    yield from tile_rows()
    yield evaluation_row()


# SSIM.


def ssim_rows() -> Iterator[Row]:
    """Yield SSIM beside two libraries at the same definition, on a quarter frame, and its memory on a whole one."""
    output, target = pictures(HEIGHT // 2, WIDTH // 2)
    contenders = {
        "ours": lambda: metrics.ssim(output, target),
        "scikit-image": lambda: skimage_ssim(output, target),
        "torchmetrics": lambda: torchmetrics_ssim(output, target),
    }
    require_agreement({name: score() for name, score in contenders.items()})
    seconds = rounds(contenders, clock=core_seconds)
    what = "SSIM, Gaussian window, 3 MP RGB, by seconds of a core"
    for peer in ("scikit-image", "torchmetrics"):
        yield row(what, f"{peer}, the same to 1e-6", seconds["ours"], seconds[peer], 3, "MP/s")
    ours, peer = extra_bytes(prepared_ssim), extra_bytes(prepared_skimage_ssim)
    yield memory_row("memory of that SSIM, 12 MP (less is better)", "scikit-image", ours, peer)


def pictures(height: int = HEIGHT, width: int = WIDTH) -> tuple[np.ndarray, np.ndarray]:
    """Return a noisy picture and its target, made in place: temporaries would count as memory."""
    rng = np.random.default_rng(0)
    target, output = (rng.random((height, width, 3), np.float32) for _ in range(2))
    output -= target
    output *= np.float32(0.1)
    output += target
    return np.clip(output, 0, 1, out=output), target


def skimage_ssim(output: np.ndarray, target: np.ndarray) -> float:
    """Return scikit-image's SSIM with Wang's window."""
    how = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    return float(structural_similarity(output, target, channel_axis=2, **how))


def torchmetrics_ssim(output: np.ndarray, target: np.ndarray) -> float:
    """Return torchmetrics' SSIM, whose defaults are Wang's window."""
    first, second = (torch.from_numpy(picture).permute(2, 0, 1)[None] for picture in (output, target))
    return float(structural_similarity_index_measure(first, second, data_range=1.0))


def prepared_ssim() -> Callable[[], object]:
    """Return our SSIM of a whole frame as a call."""
    return prepared(metrics.ssim)


def prepared_skimage_ssim() -> Callable[[], object]:
    """Return scikit-image's SSIM of a whole frame as a call."""
    return prepared(skimage_ssim)


def prepared(score: Callable[[np.ndarray, np.ndarray], float]) -> Callable[[], object]:
    """Return a score of a whole frame as a call, its libraries warm."""
    score(*pictures(32, 32))
    both = pictures()
    return lambda: score(*both)


# Tiles.


def tile_rows() -> Iterator[Row]:
    """Yield SID's network on a whole frame in tiles, beside the frame in one piece: time and memory."""
    model, planes = network_and_frame()
    seconds = rounds({"tiles": lambda: tiles.picture(model, planes), "whole": lambda: whole(model, planes)}, count=3)
    peer = "the same in one piece"
    yield row("12 MP through `sid` in tiles, CPU, 3 rounds", peer, seconds["tiles"], seconds["whole"], 12, "MP/s")
    in_tiles, in_one = extra_bytes(prepared_tiles), extra_bytes(prepared_whole)
    yield memory_row("memory of that (less is better)", peer, in_tiles, in_one)


def network_and_frame() -> tuple[Unet, np.ndarray]:
    """Return SID's network with fresh weights, and a packed frame."""
    torch.manual_seed(0)
    planes = np.random.default_rng(0).random((4, HEIGHT // 2, WIDTH // 2), np.float32)
    return build(architecture_of(Recipe())).eval(), planes


def whole(model: Unet, planes: np.ndarray) -> np.ndarray:
    """Return the network's picture of a frame in one piece."""
    with torch.inference_mode():
        return model(torch.from_numpy(planes)[None])[0].permute(1, 2, 0).numpy()


def prepared_tiles() -> Callable[[], object]:
    """Return a whole frame in tiles as a call, torch warm."""
    model, planes = network_and_frame()
    whole(model, planes[:, :32, :32])
    return lambda: tiles.picture(model, planes)


def prepared_whole() -> Callable[[], object]:
    """Return a whole frame in one piece as a call, torch warm."""
    model, planes = network_and_frame()
    whole(model, planes[:, :32, :32])
    return lambda: whole(model, planes)


# An evaluated frame.


def evaluation_row() -> Row:
    """Return a frame evaluated from the store, the network's picture given, beside a script that decodes both raws.

    Both run in one process, which keeps the memory that it frees: page faults would be much of the script's time.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_pair(folder / "raws")
        ingest(folder / "raws", folder / "cam", jobs=1)
        stored(folder)
        np.save(folder / "output.npy", pictures()[0])
        with script(prepare=memory.keep_freed) as process:
            contenders = {
                "ours": lambda: process.apply(evaluated, (folder,)),
                "naive": lambda: process.apply(naively_evaluated, (folder,)),
            }
            for mine, theirs in zip(*(contender() for contender in contenders.values()), strict=True):
                require_agreement({"ours": mine, "naive": theirs})
            seconds = rounds(contenders, clock=core_seconds)
    what = "evaluation of a frame but for its network, 12 MP, targets in the store, by seconds of a core"
    peer = "a script: rawpy for both raws, scikit-image, in the same process"
    return row(what, peer, seconds["ours"], seconds["naive"], 1, "frames/s")


@functools.cache
def stored(folder: Path) -> store.Entry:
    """Return the one pair of a session, decoded into its store where it is not there yet."""
    manifest = load(folder / "cam")
    captures = {capture.path: capture for capture in manifest.captures}
    settings = store.StoreSettings(adjust_maximum_thr=0.75)
    (entry,) = store.build(manifest.pairs, captures, folder / "raws", folder / "store", settings, jobs=1)
    return entry


def evaluated(folder: Path) -> tuple[float, float]:
    """Return PSNR and SSIM of a given picture, with all that an evaluation does for them."""
    entry, output = stored(folder), np.load(folder / "output.npy", mmap_mode="r")
    patches.frame_input(entry, Recipe())
    marks = protocols.PROTOCOLS[protocols.DEFAULT].marks(output, patches.unit_target(entry.target), "gaussian")
    return marks.psnr_db, marks.ssim


def naively_evaluated(folder: Path) -> tuple[float, float]:
    """Return the same as ports of SID do it, frame by frame."""
    short, long = sorted((folder / "raws").iterdir())
    output = np.load(folder / "output.npy", mmap_mode="r")
    with rawpy.imread(str(short)) as raw:
        mosaic = np.maximum(raw.raw_image_visible.astype(np.float32) - 512, 0) / (16383 - 512)
    planes = np.stack([mosaic[0::2, 0::2], mosaic[0::2, 1::2], mosaic[1::2, 1::2], mosaic[1::2, 0::2]])
    np.minimum(planes * 100, 1)
    with rawpy.imread(str(long)) as raw:
        target = np.float32(raw.postprocess(use_camera_wb=True, no_auto_bright=True, output_bps=16) / 65535.0)
    return float(peak_signal_noise_ratio(target, output, data_range=1.0)), skimage_ssim(output, target)


def memory_row(what: str, peer: str, ours: int, theirs: int) -> Row:
    """Return our share of the peer's memory."""
    return Row(what, peer, (ours / theirs,), f"{ours / 1e6:.3g} MB on top")


def require_agreement(values: Mapping[str, float]) -> None:
    """Stop where the contenders do not compute the same: their ratio would mean nothing."""
    middle = statistics.median(values.values())
    if max(abs(value - middle) for value in values.values()) > AGREEMENT:
        raise SystemExit(f"the contenders differ: {values}")
