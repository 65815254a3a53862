"""The training loop, readable from top to bottom.

The run's folder ends up with `model.safetensors` and its side-car, `run.json`, `metrics.jsonl`, pictures, and
`state.pt` to go on from. On one machine a run that was stopped in any way, or killed, and resumed gives the weights of
a run that was not, bit for bit on a CPU: every draw is a function of seed and step, and the state holds the rest.
"""

import itertools
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from sidcurate.errors import UsageError
from sidcurate.manifests import Manifest
from sidtrain.data import feed, policies
from sidtrain.data.choice import Chosen
from sidtrain.execution import Execution
from sidtrain.recipe import Recipe
from sidtrain.training import board, devices, parallel, runs, tuning, validating
from sidtrain.training.parallel import Group
from sidtrain.training.runs import InitialWeights, Position, Run
from sidtrain.training.scenes import Scenes, decode
from sidtrain.training.step import Step
from sidtrain.weights import checkpoint, history
from sidtrain.weights.unet import Unet, architecture_of, build


@dataclass(frozen=True)
class Done:
    """One step, as it is told while the training runs.

    Attributes:
        step: steps done.
        steps: of the whole training.
        loss: before the step, over the whole batch.
        seconds: since the step before.
        waited_s: how much of that the data took.
        memory_bytes: the most that this process has held.
    """

    step: int
    steps: int
    loss: float
    seconds: float
    waited_s: float
    memory_bytes: int


@dataclass(frozen=True)
class Result:
    """How a training ended: `step` < `steps` when it was interrupted; `metrics` are those of the last validation.

    `signal` is the number of the one that asked it to stop, 0 without.
    """

    run_dir: Path
    step: int
    steps: int
    metrics: dict[str, float]
    signal: int = 0


@dataclass
class _Stop:
    """The signal that asks a training to end after its step; 0 as long as none came."""

    signal: int = 0


def finetune(
    manifest: Manifest,
    recipe: Recipe,
    chosen: Chosen,
    run_dir: Path,
    store_dir: Path,
    *,
    init: Path | None = None,
    resume: bool = False,
    tune: bool = False,
    jobs: int | None = None,
    on_store: Callable[[int, int], None] = lambda done, total: None,
    on_step: Callable[[Done], None] = lambda done: None,
    say: Callable[[str], None] = lambda line: None,
) -> Result:
    """Train the recipe's network on pairs of a manifest.

    Under `torchrun`, or `launching.launch`, each process calls this with the same arguments; the first writes.

    Args:
        manifest: validated manifest of the camera.
        recipe: what to do.
        chosen: pairs to use, of those that `choice.choose` returns.
        run_dir: folder of the run, made here; must be new unless `resume`.
        store_dir: folder of the decoded frames.
        init: checkpoint to start from; from scratch without.
        resume: go on where the run in `run_dir` stopped, computing as it did; with `init`, only if it started there.
        tune: choose the way to compute a step by a short trial; the reference without.
        jobs: worker processes that decode raws.
        on_store: called with the count of decoded frames and of frames to decode.
        on_step: called after each step, in the first process.
        say: called with a line that a person should see.

    Raises:
        UsageError: the run exists (or does not, to resume), the patch does not fit, or loss or output is not finite.
        MissingResourceError: no such device, or it fails, or memory ran out.
        SidcurateError: what `store.build` and `checkpoint.load` raise.
    """
    with devices.faults_in_words(devices.smaller(recipe)), parallel.joined(recipe.device_type) as group:
        model, initial = _beginning(recipe, run_dir, init, resume, group)
        for line in runs.leaks(manifest, initial):
            say(line)
        run = Run(run_dir, manifest, recipe, chosen, initial, _reference(group))
        with history.only_writer(run_dir) if group.leads else nullcontext():
            run, begin = _ahead(run, resume, tune)
            scenes = decode(manifest, recipe, chosen, store_dir, jobs, on_store, group)
            for remark in policies.remarks(scenes.entries, recipe):
                say(remark)
            run = replace(run, zeros=scenes.zeros)
            return _train(partial(begin, run, model, scenes, group, say), scenes, group, on_step)


def _train(
    begin: Callable[[], tuple[Run, Step, Position]], scenes: Scenes, group: Group, on_step: Callable[[Done], None]
) -> Result:
    run, step, position = begin()
    recipe, before, steps = run.recipe, time.perf_counter(), run.recipe.steps(len(scenes.train))
    cuts, left = partial(scenes.cuts, recipe, group.part(recipe.batch)), range(position.step, steps)
    with _held_stop() as stop, _curves(run, position, group) as draw, feed.batches(cuts, left, group.device) as batches:
        for batch in batches:  # in the order of the steps, made ahead by threads
            rate = recipe.rate(position.step, len(scenes.train))
            loss = step(batch, rate)  # of the whole batch, all processes together
            if not math.isfinite(loss):
                ids = ", ".join(itertools.chain(*group.of_all(batch.pair_ids)))
                raise _lost(run, f"the loss is {loss} after {position.step} steps, on {ids}")
            position.step += 1
            if group.leads:
                run.log(step=position.step, rate=rate, train_loss=loss)
                draw(position.step, {"rate": rate, "train_loss": loss})
                before, seconds = time.perf_counter(), time.perf_counter() - before
                memory = devices.peak_memory_bytes(group.device)
                on_step(Done(position.step, steps, loss, seconds, batch.waited_s, memory))
                if position.step % recipe.validate_every == 0 or position.step == steps:
                    position.metrics = _validated(run, step.model, scenes, position.step)
                    draw(position.step, position.metrics)
                    _keep(run, scenes, step.model, position)
                    runs.save_state(run, step, position)
            if group.any(stop.signal > 0):
                break
    if group.leads:
        runs.save_state(run, step, position)
    asked = max(group.of_all(stop.signal))  # The others stay until the state is on the disk.
    return Result(run.directory, position.step, steps, position.metrics, asked)


def _beginning(
    recipe: Recipe, run_dir: Path, init: Path | None, resume: bool, group: Group
) -> tuple[Unet, InitialWeights]:
    """Return the network to start from; what is wrong is refused before hours of decoding, not after them."""
    history.require_free(run_dir, resume)
    group.part(recipe.batch)
    return initial_network(recipe, init)


def _ahead(run: Run, resume: bool, tune: bool) -> tuple[Run, Callable[..., tuple[Run, Step, Position]]]:
    """Return the run and what begins it; to resume another one is refused here, before hours of decoding."""
    if not resume:
        return run, partial(_begun, tune=tune)
    state = runs.load_state(run.directory)
    return replace(run, execution=runs.require_same(run, state)), partial(_resumed, state=state)


def initial_network(recipe: Recipe, init: Path | None) -> tuple[Unet, InitialWeights]:
    """Return the network to start from: a checkpoint's, or a fresh one from the recipe's seed.

    Raises:
        UsageError: the checkpoint has another architecture, or puts out something else, than the recipe says.
    """
    architecture = architecture_of(recipe)
    if init is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            return build(architecture), InitialWeights()
    model, sidecar = checkpoint.load(init)
    if sidecar.target != recipe.target:
        raise UsageError(
            f'{init} is a network of target "{sidecar.target}", the recipe says target = "{recipe.target}": its last '
            "layer is another one; use a recipe with its target, or another --init"
        )
    if sidecar.architecture != architecture:
        raise UsageError(
            f"{init} holds a network of {sidecar.architecture}, the recipe asks for {architecture}; "
            "use the recipe that it was made with, or another --init"
        )
    return model, InitialWeights(str(init), sidecar.sha256, sidecar.lineage(str(init)))


def _begun(
    run: Run, model: Unet, scenes: Scenes, group: Group, say: Callable[[str], None], tune: bool
) -> tuple[Run, Step, Position]:
    """Return a training at its beginning, its folder made, with a state: from then on every kill can be resumed."""
    lines: tuple[str, ...] = ()
    if tune:
        run, lines = _tuned(run, model, scenes, group, say)
    step, position = Step(model, run.recipe.loss, run.execution, group), Position()
    if group.leads:
        runs.begin(run, run.recipe.steps(len(scenes.train)), lines, policies.table(scenes.entries, run.recipe))
        position.metrics = _validated(run, model, scenes, 0)
        runs.save_state(run, step, position)
    return run, step, position


def _resumed(
    run: Run, model: Unet, scenes: Scenes, group: Group, say: Callable[[str], None], state: Mapping[str, Any]
) -> tuple[Run, Step, Position]:
    """Return a training where it stopped, computing as it did."""
    threads, now = run.execution.threads, torch.get_num_threads()
    if now != threads:
        say(f"computing with {threads} threads as before, not {now}: the same weights")
        torch.set_num_threads(threads)
    step = Step(model, run.recipe.loss, run.execution, group)
    initial, position = runs.restore(state, step)
    if group.leads:
        runs.forget_after(run.directory, position.step)
    return replace(run, initial=initial), step, position


def _tuned(
    run: Run, model: Unet, scenes: Scenes, group: Group, say: Callable[[str], None]
) -> tuple[Run, tuple[str, ...]]:
    """Return the run with the way of computing that the first process measured as the fastest, and the measurement."""
    found: tuple[Execution, tuple[str, ...]] = run.execution, ()
    if group.leads:
        cuts = scenes.cuts(run.recipe, group.part(run.recipe.batch), 0, max(scenes.sides))
        trial = tuning.tuned(model, run.recipe.loss, feed.converted(cuts), run.execution, group)
        found = trial.fastest, tuple(trial.lines())
    execution, lines = group.of_leader(found)
    for line in lines:
        say(f"tune: {line}")
    return replace(run, execution=execution), lines


def _reference(group: Group) -> Execution:
    return Execution(device=group.device.type, processes=group.processes, threads=torch.get_num_threads())


def _validated(run: Run, model: Unet, scenes: Scenes, step: int) -> dict[str, float]:
    """Return and log the means over the validation scenes; empty without scenes.

    Raises:
        UsageError: the network puts out what is no number; then nothing of it may be kept.
    """
    metrics = validating.means(model, scenes.val, run.recipe)
    judged = metrics or validating.means(model, [scenes.train[0][:1]], run.recipe)
    if not math.isfinite(judged["val_l1"]):
        raise _lost(run, f"the network's output is not finite after {step} steps")
    if metrics:
        run.log(step=step, **metrics)
    return metrics


def _keep(run: Run, scenes: Scenes, model: Unet, position: Position) -> None:
    """Save the weights if the recipe keeps them: the last ones, or the best on the validation scenes, if there are."""
    score = position.metrics.get("val_psnr_db", math.inf)
    if score > position.best or run.recipe.keep == "last" or not scenes.val:
        used = {"train": scenes.train, "val": scenes.val}
        names = {split: [shorts[0].pair.scene_id for shorts in chosen] for split, chosen in used.items()}
        checkpoint.save(run.directory, model, runs.sidecar(run, position, names))
        entry = (scenes.val or scenes.train)[0][0]
        picture = run.directory / runs.PICTURES / validating.picture_name(entry.pair, position.step)
        validating.write_picture(picture, model, entry, run.recipe)
    position.best = max(position.best, score)


def _curves(run: Run, position: Position, group: Group) -> AbstractContextManager[board.Curves]:
    return board.curves(run.directory, position.step) if group.leads else nullcontext(lambda step, values: None)


def _lost(run: Run, what: str) -> UsageError:
    weights = history.weights_path(run.directory)
    kept = f"the last good checkpoint is {weights}" if weights.exists() else "no checkpoint was saved yet"
    return UsageError(f"{what}; {kept}; lower the learning rate in the recipe, or look at what the pairs show")


@contextmanager
def _held_stop() -> Iterator[_Stop]:
    """Hold a first Ctrl-C or SIGTERM back until the step is done, so that no half step is saved.

    A second Ctrl-C stops at once, a second SIGTERM does what it did before.
    """
    stop = _Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # signals reach the main thread only
        return

    def hold(number: int, _frame: object) -> None:
        stop.signal = number
        signal.signal(number, before[number])

    before = {int(number): signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, hold)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
