"""`sidcurate finetune`: train a network for one camera on the pairs that hold up."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sidcurate.cli import SIGNALED, fewpairs
from sidcurate.cli.console import Report, progress, say
from sidcurate.cli.options import (
    device_option,
    dry_run_option,
    jobs_option,
    manifests_option,
    require_train_extra,
    runs_option,
    store_option,
)
from sidcurate.counted import counted

if TYPE_CHECKING:
    from sidcurate.manifests import Manifest
    from sidtrain.finetune import Done, Result
    from sidtrain.recipe import Recipe
    from sidtrain.runs import Chosen


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
def command(
    ctx: click.Context,
    device: str,
    recipe_name: str,
    init: Path | None,
    name: str | None,
    runs_root: Path,
    store_dir: Path,
    manifests_root: Path,
    resume: bool,
    device_type: str | None,
    tune: bool,
    processes: int,
    counts: tuple[int, ...] | None,
    repeat: int,
    jobs: int | None,
    dry_run: bool,
) -> None:
    """Train a See-in-the-Dark network for one camera.

    Uses only pairs without findings of severity error, and keeps to the training and validation scenes. Prints the
    folder of the run. Ctrl-C or SIGTERM lets the step end and keeps the state: go on with --resume.

    With --pairs, answers how many pairs the camera needs: nested subsets of the training pairs, equal steps, the same
    test scenes, one table and one picture. The same command goes on where it was interrupted.
    """
    require_train_extra()
    from sidcurate import manifests
    from sidtrain import devices, finetune, parallel, runs

    _check(name, init, resume, tune, processes, counts)
    if counts:
        _draw_curve(ctx, counts)
        return
    with _one_voice(ctx) as leads:
        manifest = manifests.load(manifests.find(manifests_root, device))
        how = _recipe(recipe_name, device_type, processes)
        run_dir = runs_root / device / (name or Path(recipe_name).stem)
        chosen = runs.choose(manifest)
        runs.require_free(run_dir, resume)
        devices.pick(how.device_type, processes - 1)
        if init:
            finetune.initial_network(how, init)  # Before hours of decoding, not after them.
        if processes > 1 and not dry_run:
            ctx.exit(parallel.launch(processes, _arguments(ctx, without={"processes"})))
        if leads:
            _say_what_is_used(chosen, init, resume)
        if dry_run:
            _say_what_would_be_written(manifest, how, chosen, run_dir, store_dir)
            return
        train = partial(finetune.finetune, chosen=chosen, init=init, resume=resume, tune=tune, jobs=jobs)
        result = _train(partial(train, manifest, how, run_dir, store_dir), how.batch, leads)
        _end(ctx, result, leads)


def _check(
    name: str | None, init: Path | None, resume: bool, tune: bool, processes: int, counts: tuple[int, ...] | None
) -> None:
    """Refuse options that do not go together.

    Raises:
        UsageError: with what to leave out.
    """
    from sidcurate.errors import UsageError

    if resume and (init or tune):
        raise UsageError(
            "--resume goes on with the weights of the run, and computes as it did: leave out --init, --tune"
        )
    if name is not None:
        _require_plain(name)
    if counts and (resume or tune or processes > 1):
        raise UsageError("--pairs trains many networks, and goes on by itself: leave out --resume, --tune, --launch")


def _draw_curve(ctx: click.Context, counts: tuple[int, ...]) -> None:
    """Train and compare networks on so many pairs each, as the other options of the command say."""
    from sidcurate import manifests

    given = ctx.params
    recipe_name, device = given["recipe_name"], given["device"]
    manifest = manifests.load(manifests.find(given["manifests_root"], device))
    folder = given["runs_root"] / device / (given["name"] or f"{Path(recipe_name).stem}-pairs")
    recipe = _recipe(recipe_name, given["device_type"], processes=1)
    trainings = fewpairs.plan(manifest, recipe, counts, given["repeat"], given["init"])
    if given["dry_run"]:
        fewpairs.show_plan(trainings, folder)
    else:
        fewpairs.show(ctx, trainings, manifest, folder, given["store_dir"], given["jobs"])


def _train(train: "Callable[..., Result]", batch: int, leads: bool) -> "Result":
    """Train, with progress and talk where this process leads."""
    if not leads:
        return train()
    with progress() as report:
        return train(on_store=partial(report, "decoding"), on_step=partial(_show, report, batch), say=say)


@contextmanager
def _one_voice(ctx: click.Context) -> Iterator[bool]:
    """Yield whether this process talks: of several that train together, the first one.

    A wrong request is wrong for all of them and said once; what one of them lacks (memory, a device) it says itself.
    """
    from sidcurate.errors import MissingResourceError, SidcurateError
    from sidtrain import parallel

    leads = parallel.rank() == 0
    try:
        yield leads
    except SidcurateError as error:
        if leads or isinstance(error, MissingResourceError):
            raise
        ctx.exit(error.exit_code)


def _recipe(name: str, device_type: str | None, processes: int) -> "Recipe":
    """Return the recipe, on the device that the command line asks for; its batch can be shared by the processes."""
    from sidtrain import parallel, recipe

    how = recipe.load(name)
    parallel.part(how.batch, 0, processes)
    return how.model_copy(update={"device_type": device_type}) if device_type else how


def _arguments(ctx: click.Context, without: set[str]) -> list[str]:
    """Return the words of the command line that this verb was called with, but some options."""
    words = []
    for parameter in ctx.command.params:
        value = ctx.params[parameter.name or ""]
        if parameter.name not in without and value not in (None, False):
            words += [parameter.opts[0]] if value is True else [parameter.opts[0], str(value)]
    return words


def _show(report: Report, batch: int, done: "Done") -> None:
    note = f"loss {done.loss:.4f}, {done.memory_bytes / 1e9:.2f} GB"
    report("training", done.step, done.steps, note, "patches", batch)


def _require_plain(name: str) -> None:
    from sidcurate.errors import UsageError

    if name in {"", ".."} or Path(name).name != name:
        raise UsageError(f"--name {name!r} is not the name of one folder: give a name without '/', such as night-2")


def _say_what_is_used(chosen: "Chosen", init: Path | None, resume: bool) -> None:
    say(f"training on {counted(len(chosen.train), 'pair')}, validation on {len(chosen.val)}")
    if chosen.left_out:
        codes = Counter(code for codes in chosen.left_out.values() for code in codes)
        reasons = ", ".join(f"{code} {count}x" for code, count in sorted(codes.items()))
        say(f"{counted(len(chosen.left_out), 'pair')} left out: {reasons} (`sidcurate validate` says more)")
    if not chosen.val:
        say("no validation scene: the last weights are kept, whatever they are worth")
    if not resume:
        say(f"starting from {init}" if init else "FROM SCRATCH: no --init was given")


def _say_what_would_be_written(
    manifest: "Manifest", recipe: "Recipe", chosen: "Chosen", run_dir: Path, store_dir: Path
) -> None:
    from sidcurate import source
    from sidtrain import policies, store

    captures = {capture.path: capture for capture in manifest.captures}
    settings = policies.store_settings(recipe, manifest)
    root = source.raw_root(manifest.directory)
    missing = store.missing_bytes([*chosen.train, *chosen.val], captures, root, store_dir, settings)
    steps = recipe.steps(len({pair.scene_id for pair in chosen.train}))
    say(f"would decode {missing / 1e6:.0f} MB into {store_dir} and train {counted(steps, 'step')} in {run_dir}")


def _end(ctx: click.Context, result: "Result", leads: bool) -> None:
    """Say how a training ended, print its folder, and leave with the exit code that fits."""
    interrupted = result.step < result.steps
    if leads and interrupted:
        say(f"interrupted after {result.step} of {result.steps} steps; go on with --resume")
    if interrupted:
        ctx.exit(SIGNALED + result.signal)
    if leads:
        measured = ", ".join(f"{name} {value:.4g}" for name, value in result.metrics.items())
        say(f"done: {counted(result.steps, 'step')}; {measured or 'nothing validated'}")
        click.echo(result.run_dir)
