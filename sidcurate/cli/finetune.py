"""`sidcurate finetune`: train a network for one camera on the pairs that hold up."""

from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sidcurate.cli import INTERRUPTED
from sidcurate.cli.console import progress, say
from sidcurate.cli.options import (
    device_option,
    dry_run_option,
    jobs_option,
    manifests_option,
    require_train_extra,
    store_option,
)

if TYPE_CHECKING:
    from sidcurate.manifests import Manifest
    from sidtrain.finetune import Result
    from sidtrain.recipe import Recipe
    from sidtrain.runs import Chosen


@click.command(name="finetune")
@device_option
@click.option(
    "--recipe",
    "recipe_name",
    default="device",
    show_default=True,
    help="TOML file, or the name of a recipe that comes with the program: sid, device, demo, seed2-lr7.",
)
@click.option(
    "--init", type=click.Path(path_type=Path, exists=True), help="Checkpoint to start from.  [default: from scratch]"
)
@click.option("--name", help="Name of the run.  [default: the recipe's name]")
@click.option(
    "--runs",
    "runs_root",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs"),
    show_default=True,
    help="Folder that holds the runs, by device.",
)
@store_option
@manifests_option
@click.option("--resume", is_flag=True, help="Go on with the run where it stopped.")
@jobs_option
@dry_run_option
def command(
    device: str,
    recipe_name: str,
    init: Path | None,
    name: str | None,
    runs_root: Path,
    store_dir: Path,
    manifests_root: Path,
    resume: bool,
    jobs: int | None,
    dry_run: bool,
) -> None:
    """Train a See-in-the-Dark network for one camera.

    Uses only pairs without findings of severity error, and keeps to the training and validation scenes. Prints the
    folder of the run. Ctrl-C keeps the last state: go on with --resume.
    """
    from sidcurate import manifests
    from sidcurate.errors import UsageError

    require_train_extra()
    from sidtrain import finetune, recipe, runs

    if resume and init:
        raise UsageError("--resume goes on with the weights of the run: leave --init out")
    if name is not None:
        _require_plain(name)
    manifest = manifests.load(manifests.find(manifests_root, device))
    how = recipe.load(recipe_name)
    run_dir = runs_root / device / (name or Path(recipe_name).stem)
    chosen = runs.choose(manifest)
    runs.require_free(run_dir, resume)
    if init:
        finetune.initial_network(how, init)  # Before hours of decoding, not after them.
    _say_what_is_used(chosen, init, resume)
    if dry_run:
        _say_what_would_be_written(manifest, how, chosen, run_dir, store_dir)
        return
    with progress() as report:
        result = finetune.finetune(
            manifest,
            how,
            run_dir,
            store_dir,
            init=init,
            resume=resume,
            jobs=jobs,
            on_store=partial(report, "decoding"),
            on_step=lambda step, steps, loss: report("training", step, steps, f"loss {loss:.4f}"),
        )
    _say_how_it_ended(result)
    click.echo(run_dir)


def _require_plain(name: str) -> None:
    from sidcurate.errors import UsageError

    if name in {"", ".."} or Path(name).name != name:
        raise UsageError(f"--name {name!r} is not the name of one folder: give a name without '/', such as night-2")


def _say_what_is_used(chosen: "Chosen", init: Path | None, resume: bool) -> None:
    say(f"training on {len(chosen.train)} pairs, validation on {len(chosen.val)}")
    if chosen.left_out:
        codes = Counter(code for codes in chosen.left_out.values() for code in codes)
        reasons = ", ".join(f"{code} {count}x" for code, count in sorted(codes.items()))
        say(f"{len(chosen.left_out)} pairs left out: {reasons} (`sidcurate validate` says more)")
    if not chosen.val:
        say("no validation scene: the last weights are kept, whatever they are worth")
    if not resume:
        say(f"starting from {init}" if init else "FROM SCRATCH: no --init was given")


def _say_what_would_be_written(
    manifest: "Manifest", recipe: "Recipe", chosen: "Chosen", run_dir: Path, store_dir: Path
) -> None:
    from sidcurate import source
    from sidtrain import store

    captures = {capture.path: capture for capture in manifest.captures}
    settings = store.StoreSettings(adjust_maximum_thr=recipe.adjust_maximum_thr)
    root = source.raw_root(manifest.directory)
    missing = store.missing_bytes([*chosen.train, *chosen.val], captures, root, store_dir, settings)
    steps = recipe.steps(len({pair.scene_id for pair in chosen.train}))
    say(f"would decode {missing / 1e6:.0f} MB into {store_dir} and train {steps} steps in {run_dir}")


def _say_how_it_ended(result: "Result") -> None:
    if result.step < result.steps:
        say(f"interrupted after {result.step} of {result.steps} steps; go on with --resume")
        click.get_current_context().exit(INTERRUPTED)
    measured = ", ".join(f"{name} {value:.4g}" for name, value in result.metrics.items())
    say(f"done: {result.steps} steps; {measured or 'nothing validated'}")
