"""`sidcurate finetune`: train a network for one camera on the pairs that hold up."""

from collections import Counter
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from sidcurate.cli import SIGNALED, fewpairs
from sidcurate.cli.console import Report, progress, say, say_next
from sidcurate.cli.options import (
    device_option,
    dry_run_option,
    jobs_option,
    manifests_option,
    naming,
    require_train_extra,
    runs_option,
    store_option,
)
from sidcurate.counted import counted

if TYPE_CHECKING:
    from sidcurate.manifests import Manifest
    from sidtrain.data.choice import Chosen
    from sidtrain.recipe import Recipe
    from sidtrain.training.finetune import Done, Result


@click.command(name="finetune")
@device_option
@click.option(
    "--recipe",
    "recipe_name",
    default="device",
    show_default=True,
    help="TOML file, or the name of a recipe that comes with the program: device, demo, sid, sid-fuji, seed2-lr7.",
)
@click.option(
    "--init", type=click.Path(path_type=Path, exists=True), help="Checkpoint to start from.  [default: from scratch]"
)
@click.option("--name", help="Name of the run.  [default: the recipe's name]")
@runs_option
@store_option
@manifests_option
@click.option("--resume", is_flag=True, help="Go on with the run where it stopped.")
@click.option(
    "--device-type",
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    help="Where to compute; auto is a GPU where there is one.  [default: the recipe's]",
)
@click.option(
    "--tune",
    is_flag=True,
    help="Try bf16, channels_last and torch.compile for a few steps and use what gains.  [default: plain fp32]",
)
@click.option(
    "--launch",
    "processes",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes of this machine that share each batch.",
)
@click.option(
    "--pairs",
    "counts",
    metavar="N,N,...",
    callback=fewpairs.parse_counts,
    help="Draw the few-pair curve: train on so many pairs each, fine-tuned and from scratch, and compare.",
)
@click.option(
    "--repeat", type=click.IntRange(min=1), default=3, show_default=True, help="With --pairs: subsets of each count."
)
@jobs_option
@dry_run_option
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:  # noqa: ANN401 - click gives each option its type
    """Train a See-in-the-Dark network for one camera.

    Uses only pairs without findings of severity error, and keeps to the training and validation scenes. Prints the
    folder of the run. Ctrl-C or SIGTERM lets the step end and keeps the state: go on with --resume.

    With --pairs, answers how many pairs the camera needs: nested subsets of the training pairs, equal steps, the same
    test scenes, one table and one picture. The same command goes on where it was interrupted.
    """
    require_train_extra()
    asked = _Asked(**options)
    _check(asked, _typed(ctx))
    if asked.counts:
        _draw_curve(ctx, asked, asked.counts)
        return
    with _one_voice(ctx) as leads:
        plan = _plan(asked)
        _require_means(asked, plan)
        if asked.processes > 1 and not asked.dry_run:
            from sidtrain.training import launching

            ctx.exit(launching.launch(asked.processes, _words(ctx, _typed(ctx) - {"processes"})))
        if leads:
            _say_what_is_used(asked, plan.chosen)
        if asked.dry_run:
            _say_what_would_be_written(plan, asked.store_dir)
        else:
            _end(ctx, asked, _train(asked, plan, leads), leads)


@dataclass(frozen=True)
class _Asked:
    """The command line, by the names of its options."""

    device: str
    recipe_name: str
    init: Path | None
    name: str | None
    runs_root: Path
    store_dir: Path
    manifests_root: Path
    resume: bool
    device_type: str | None
    tune: bool
    processes: int
    counts: tuple[int, ...] | None
    repeat: int
    jobs: int | None
    dry_run: bool


@dataclass(frozen=True)
class _Plan:
    """What a command line asks for, found to be there."""

    manifest: "Manifest"
    recipe: "Recipe"
    chosen: "Chosen"
    run_dir: Path


def _check(asked: _Asked, typed: Set[str]) -> None:
    """Refuse options that do not go together, or name nothing that there could be.

    Raises:
        UsageError: with what to leave out, or to give instead.
    """
    from sidcurate.errors import UsageError
    from sidtrain.weights import history

    if asked.resume and (asked.init or asked.tune):
        raise UsageError(
            "--resume goes on with the weights of the run, and computes as it did: leave out --init, --tune"
        )
    if asked.name is not None:
        _require_plain(asked.name)
    if asked.init:
        history.require_checkpoint(asked.init)
    if asked.counts and (asked.resume or asked.tune or asked.processes > 1):
        raise UsageError("--pairs trains many networks, and goes on by itself: leave out --resume, --tune, --launch")
    if "repeat" in typed and not asked.counts:
        raise UsageError(
            "--repeat says how many subsets of each count --pairs draws: give --pairs too, or leave it out"
        )


def _plan(asked: _Asked) -> _Plan:
    """Return what is to be trained; wrong words are answered here, before torch is loaded.

    Raises:
        UsageError: no such camera, recipe or run, or nothing to train on.
    """
    from sidcurate import manifests
    from sidtrain.data import choice
    from sidtrain.weights import history

    recipe = _recipe(asked.recipe_name, asked.device_type, asked.processes)
    run_dir = asked.runs_root / asked.device / (asked.name or Path(asked.recipe_name).stem)
    manifest = manifests.load(manifests.find(asked.manifests_root, asked.device))
    history.require_free(run_dir, asked.resume)
    return _Plan(manifest, recipe, choice.choose(manifest), run_dir)


def _require_means(asked: _Asked, plan: _Plan) -> None:
    """Look, before hours of decoding, at what only torch knows: the device and the initial weights."""
    from sidtrain.training import devices, finetune

    devices.pick(plan.recipe.device_type, asked.processes - 1)
    if asked.init:
        finetune.initial_network(plan.recipe, asked.init)


def _draw_curve(ctx: click.Context, asked: _Asked, counts: tuple[int, ...]) -> None:
    """Train and compare networks on so many pairs each, as the other options of the command say."""
    from sidcurate import manifests

    recipe = _recipe(asked.recipe_name, asked.device_type, processes=1)
    folder = asked.runs_root / asked.device / (asked.name or f"{Path(asked.recipe_name).stem}-pairs")
    manifest = manifests.load(manifests.find(asked.manifests_root, asked.device))
    trainings = fewpairs.plan(manifest, recipe, counts, asked.repeat, asked.init)
    if asked.dry_run:
        fewpairs.show_plan(trainings, folder)
    else:
        fewpairs.show(ctx, trainings, manifest, folder, asked.store_dir, asked.jobs)


def _train(asked: _Asked, plan: _Plan, leads: bool) -> "Result":
    """Train, with progress and talk where this process leads."""
    from sidtrain.training.finetune import finetune

    train = partial(finetune, plan.manifest, plan.recipe, plan.chosen, plan.run_dir, asked.store_dir)
    train = partial(train, init=asked.init, resume=asked.resume, tune=asked.tune, jobs=asked.jobs)
    if not leads:
        return train()
    with progress() as report:
        shown = partial(_show, report, plan.recipe.batch)
        return train(on_store=partial(report, "decoding"), on_step=shown, say=say)


@contextmanager
def _one_voice(ctx: click.Context) -> Iterator[bool]:
    """Yield whether this process talks: of several that train together, the first one.

    A wrong request is wrong for all of them and said once; what one of them lacks (memory, a device) it says itself.
    """
    from sidcurate.errors import MissingResourceError, SidcurateError
    from sidtrain.training import launching

    leads = launching.rank() == 0
    try:
        yield leads
    except SidcurateError as error:
        if leads or isinstance(error, MissingResourceError):
            raise
        ctx.exit(error.exit_code)


def _recipe(name: str, device_type: str | None, processes: int) -> "Recipe":
    """Return the recipe, on the device that the command line asks for; its batch can be shared by the processes."""
    from sidtrain import recipe
    from sidtrain.training import launching

    how = recipe.load(name)
    launching.part(how.batch, 0, processes)
    return how.model_copy(update={"device_type": device_type}) if device_type else how


def _typed(ctx: click.Context) -> set[str]:
    """Return the names of the options that stand on the command line."""
    return {name for name in ctx.params if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE}


def _words(ctx: click.Context, names: Set[str]) -> list[str]:
    """Return the words of the command line that gave some options."""
    words = []
    for parameter in ctx.command.params:
        if parameter.name in names:
            value = ctx.params[parameter.name]
            words += [parameter.opts[0]] if value is True else [parameter.opts[0], str(value)]
    return words


def _show(report: Report, batch: int, done: "Done") -> None:
    note = f"loss {done.loss:.4f}, {done.memory_bytes / 1e9:.2f} GB"
    report("training", done.step, done.steps, note, "patches", batch)


def _require_plain(name: str) -> None:
    from sidcurate.errors import UsageError

    if name in {"", ".."} or Path(name).name != name:
        raise UsageError(f"--name {name!r} is not the name of one folder: give a name without '/', such as night-2")


def _say_what_is_used(asked: _Asked, chosen: "Chosen") -> None:
    say(f"training on {counted(len(chosen.train), 'pair')}, validation on {len(chosen.val)}")
    if chosen.left_out:
        codes = Counter(code for codes in chosen.left_out.values() for code in codes)
        reasons = ", ".join(f"{code} ×{count}" for code, count in sorted(codes.items()))
        say(f"{counted(len(chosen.left_out), 'pair')} left out: {reasons} (`sidcurate validate` says more)")
    if not chosen.val:
        say("no validation scene: the last weights are kept, whatever they are worth")
    if not asked.resume:
        say(f"starting from {asked.init}" if asked.init else "FROM SCRATCH: no --init was given")


def _say_what_would_be_written(plan: _Plan, store_dir: Path) -> None:
    from sidcurate import source
    from sidtrain.data import policies, store

    pairs = [*plan.chosen.train, *plan.chosen.val]
    captures = {capture.path: capture for capture in plan.manifest.captures}
    settings = policies.store_settings(plan.recipe, plan.manifest)
    root = source.raw_root(plan.manifest.directory)
    missing = store.missing_bytes(pairs, captures, root, store_dir, settings)
    steps = plan.recipe.steps(len({pair.scene_id for pair in plan.chosen.train}))
    say(f"would decode {missing / 1e6:.0f} MB into {store_dir} and train {counted(steps, 'step')} in {plan.run_dir}")


def _end(ctx: click.Context, asked: _Asked, result: "Result", leads: bool) -> None:
    """Say how a training ended and what comes next, print its folder, and leave with the exit code that fits."""
    interrupted = result.step < result.steps
    if leads and interrupted:
        say(f"interrupted after {result.step} of {result.steps} steps; go on with --resume")
    if interrupted:
        ctx.exit(SIGNALED + result.signal)
    if leads:
        say(f"done: {counted(result.steps, 'step')}; {_validated(result.metrics)}")
        click.echo(result.run_dir)
        where = naming(asked.device, asked.manifests_root, asked.store_dir)
        say_next("evaluate", *where, "--checkpoint", result.run_dir)


def _validated(metrics: Mapping[str, float]) -> str:
    if not metrics:
        return "nothing validated"
    return f"on the validation scenes PSNR {metrics['val_psnr_db']:.2f} dB, L1 {metrics['val_l1']:.4f}"
