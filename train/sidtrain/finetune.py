"""The training loop, readable from top to bottom.

The run's folder ends up with `model.safetensors` and its side-car, `metrics.jsonl`, pictures, and `state.pt` to go on
from. On one machine with one count of threads, a run that was stopped and resumed gives the weights of a run that was
not, bit for bit.
"""

import math
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from PIL import Image
from torch import Tensor
from torch.nn import functional

from sidcurate import source
from sidcurate.errors import UsageError
from sidcurate.manifests import Manifest
from sidtrain import checkpoint, patches, runs, store
from sidtrain.metrics import psnr_db
from sidtrain.patches import Patch
from sidtrain.recipe import Recipe
from sidtrain.runs import Chosen, InitialWeights, Position, Run
from sidtrain.store import Entry, StoreSettings
from sidtrain.unet import Unet, architecture_of, build

_LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": functional.l1_loss,
    "l2": functional.mse_loss,
    "l2_half_sum": lambda output, target: functional.mse_loss(output, target, reduction="sum") / (2 * len(target)),
}


@dataclass(frozen=True)
class Scenes:
    """The decoded scenes, one list of shorts each, and the sides of a training patch in packed px."""

    train: list[list[Entry]]
    val: list[list[Entry]]
    sides: tuple[int, ...]


@dataclass(frozen=True)
class Result:
    """How a training ended: `step` < `steps` when it was interrupted; `metrics` are those of the last validation."""

    run_dir: Path
    step: int
    steps: int
    metrics: dict[str, float]


def finetune(
    manifest: Manifest,
    recipe: Recipe,
    run_dir: Path,
    store_dir: Path,
    *,
    init: Path | None = None,
    resume: bool = False,
    jobs: int | None = None,
    on_store: Callable[[int, int], None] = lambda done, total: None,
    on_step: Callable[[int, int, float], None] = lambda step, steps, loss: None,
) -> Result:
    """Train the recipe's network on the pairs of a manifest that no finding of severity error concerns.

    Args:
        manifest: validated manifest of the camera.
        recipe: what to do.
        run_dir: folder of the run, made here; must be new unless `resume`.
        store_dir: folder of the decoded frames.
        init: checkpoint to start from; from scratch without.
        resume: go on where the run in `run_dir` stopped.
        jobs: worker processes that decode raws.
        on_store: called with the count of decoded frames and of frames to decode.
        on_step: called after each step with the count of steps done, of all steps, and the loss.

    Raises:
        UsageError: the run exists (or does not, to resume), the patch does not fit, or the loss is not finite.
        SidcurateError: what `store.build` and `checkpoint.load` raise.
    """
    chosen = runs.choose(manifest)
    runs.require_free(run_dir, resume)
    model, initial = initial_network(recipe, init)
    optimizer = torch.optim.Adam(model.parameters())
    run, position = Run(run_dir, manifest, recipe, chosen, initial), Position()
    scenes = _load(manifest, recipe, chosen, store_dir, jobs, on_store)
    if resume:
        initial, position = runs.restore(run, model, optimizer)
        run = replace(run, initial=initial)
    else:
        runs.begin(run)
        position.metrics = _validated(run, model, scenes.val, 0)
    return _train(run, scenes, model, optimizer, position, on_step)


def _train(
    run: Run,
    scenes: Scenes,
    model: Unet,
    optimizer: torch.optim.Optimizer,
    position: Position,
    on_step: Callable[[int, int, float], None],
) -> Result:
    recipe, directory = run.recipe, run.directory
    steps = recipe.steps(len(scenes.train))
    with _held_interrupt() as interrupt:
        while position.step < steps and not interrupt.is_set():
            first, side = position.step * recipe.batch, patches.side_at(scenes.sides, recipe, position.step)
            batch = [patches.cut(scenes.train, recipe, side, first + place).patch for place in range(recipe.batch)]
            rate = recipe.rate(position.step, len(scenes.train))
            loss = _step(model, optimizer, recipe.loss, rate, batch)
            if not math.isfinite(loss):
                raise _lost(run, position.step, loss, batch)
            position.step += 1
            run.log(step=position.step, rate=rate, train_loss=loss)
            on_step(position.step, steps, loss)
            if position.step % recipe.validate_every == 0 or position.step == steps:
                position.metrics = _validated(run, model, scenes.val, position.step)
                _keep(run, scenes, model, position)
                runs.save_state(run, model, optimizer, position)
        runs.save_state(run, model, optimizer, position)
    return Result(directory, position.step, steps, position.metrics)


def initial_network(recipe: Recipe, init: Path | None) -> tuple[Unet, InitialWeights]:
    """Return the network to start from: a checkpoint's, or a fresh one from the recipe's seed.

    Raises:
        UsageError: the checkpoint has another architecture than the recipe.
    """
    architecture = architecture_of(recipe)
    if init is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            return build(architecture), InitialWeights()
    model, sidecar = checkpoint.load(init)
    if sidecar.architecture != architecture:
        raise UsageError(
            f"{init} holds a network of {sidecar.architecture}, the recipe asks for {architecture}; "
            "use the recipe that it was made with, or another --init"
        )
    return model, InitialWeights(str(init), sidecar.sha256)


def _load(
    manifest: Manifest,
    recipe: Recipe,
    chosen: Chosen,
    store_dir: Path,
    jobs: int | None,
    on_store: Callable[[int, int], None],
) -> Scenes:
    """Decode what the store misses and group it by scene."""
    captures = {capture.path: capture for capture in manifest.captures}
    settings = StoreSettings(adjust_maximum_thr=recipe.adjust_maximum_thr)
    root = source.raw_root(manifest.directory)
    entries = store.build([*chosen.train, *chosen.val], captures, root, store_dir, settings, jobs, on_store)
    train = patches.by_scene(entries[: len(chosen.train)], recipe)
    val = patches.by_scene(entries[len(chosen.train) :], recipe)
    return Scenes(train, val, patches.patch_sides([entry for shorts in train for entry in shorts], recipe))


def _step(model: Unet, optimizer: torch.optim.Optimizer, loss: str, rate: float, batch: Sequence[Patch]) -> float:
    """Do one step of Adam and return the loss before it; a loss that is not finite changes no weight."""
    x = torch.from_numpy(np.stack([patch.input for patch in batch]))  # (n, 4, p, p)
    y = torch.from_numpy(np.stack([patch.target for patch in batch]))  # (n, 3, 2p, 2p)
    error = _LOSSES[loss](model(x), y)  # of the output as it is, not clipped
    if torch.isfinite(error):
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        error.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return float(error.detach())


def _validated(run: Run, model: Unet, scenes: Sequence[Sequence[Entry]], step: int) -> dict[str, float]:
    """Return and log the means over the validation scenes, a scene's shorts averaged first; empty without scenes."""
    if not scenes:
        return {}
    per_scene = [np.mean([_score(model, entry, run.recipe) for entry in shorts], axis=0) for shorts in scenes]
    l1, psnr = (float(mean) for mean in np.mean(per_scene, axis=0))
    run.log(step=step, val_l1=l1, val_psnr_db=psnr)
    return {"val_l1": l1, "val_psnr_db": psnr}


def _score(model: Unet, entry: Entry, recipe: Recipe) -> tuple[float, float]:
    """Return the L1 of the unclipped and the PSNR in dB of the clipped output, over the central crop."""
    crop = patches.central(entry, recipe.validation_crop)
    output, target = _output(model, crop, recipe), patches.unit_target(crop.target)
    return float(np.abs(output - target).mean()), psnr_db(output, target)


def _output(model: Unet, entry: Entry, recipe: Recipe) -> Float32[np.ndarray, "h2 w2 3"]:
    with torch.no_grad():
        rgb = model(torch.from_numpy(patches.frame_input(entry, recipe))[None])[0]  # (3, 2h, 2w)
    picture: Float32[np.ndarray, "h2 w2 3"] = rgb.permute(1, 2, 0).numpy()
    return picture


def _keep(run: Run, scenes: Scenes, model: Unet, position: Position) -> None:
    """Save the weights if the recipe keeps them: the last ones, or the best on the validation scenes, if there are."""
    score = position.metrics.get("val_psnr_db", math.inf)
    if score > position.best or run.recipe.keep == "last" or not scenes.val:
        used = {"train": scenes.train, "val": scenes.val}
        names = {split: [shorts[0].pair.scene_id for shorts in chosen] for split, chosen in used.items()}
        checkpoint.save(run.directory, model, runs.sidecar(run, position, names))
        _write_picture(run, model, (scenes.val or scenes.train)[0][0], position.step)
    position.best = max(position.best, score)


def _write_picture(run: Run, model: Unet, entry: Entry, step: int) -> None:
    """Write short x ratio, output and target side by side, of the central crop.

    The short is shown as the network gets it: without white balance, at half resolution, only with a gamma to see it.
    """
    crop = patches.central(entry, run.recipe.validation_crop)
    red, green, blue, other_green = patches.frame_input(crop, run.recipe)
    short = np.stack([red, (green + other_green) / 2, blue], axis=-1).clip(0, 1) ** (1 / 2.2)
    panels = (short.repeat(2, axis=0).repeat(2, axis=1), _output(model, crop, run.recipe).clip(0, 1))
    picture = np.concatenate([*panels, patches.unit_target(crop.target)], axis=1)
    path = run.directory / runs.PICTURES / f"{entry.pair.split}-{entry.pair.pair_id}-{step:07d}.png"
    Image.fromarray((picture * 255).round().astype(np.uint8)).save(path)


def _lost(run: Run, step: int, loss: float, batch: Sequence[Patch]) -> UsageError:
    weights = checkpoint.weights_path(run.directory)
    kept = f"the last good checkpoint is {weights}" if weights.exists() else "no checkpoint was saved yet"
    return UsageError(
        f"the loss is {loss} after {step} steps, on {', '.join(patch.pair_id for patch in batch)}; {kept}; "
        "look at that pair, or lower the learning rate in the recipe"
    )


@contextmanager
def _held_interrupt() -> Iterator[threading.Event]:
    """Hold a first Ctrl-C back until the step is done, so that no half step is saved; a second one stops at once."""
    requested = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield requested  # signals reach the main thread only
        return

    def hold(number: int, _frame: object) -> None:
        requested.set()
        signal.signal(number, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, hold)
    try:
        yield requested
    finally:
        signal.signal(signal.SIGINT, before)
