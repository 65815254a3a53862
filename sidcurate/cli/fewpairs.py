"""What `sidcurate finetune --pairs` shows: the few-pair curve, training by training, then as a table."""

import json
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sidcurate.cli import SIGNALED
from sidcurate.cli.console import empty_table, make_room, progress, results, say
from sidcurate.counted import counted

if TYPE_CHECKING:
    from rich.table import Table

    from sidcurate.manifests import Manifest
    from sidtrain.recipe import Recipe
    from sidtrain.study.curve import Curve
    from sidtrain.study.fewpairs import Training
    from sidtrain.training.finetune import Done


def parse_counts(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """Return the counts of pairs that an option names, rising."""
    if value is None:
        return None
    parts = [part.strip() for part in value.split(",")]
    if not all(part.isdecimal() and 0 < int(part) < 10**6 for part in parts):
        raise click.BadParameter(f"{value!r} is no list of counts, such as 2,4,6", ctx, parameter)
    return tuple(sorted({int(part) for part in parts}))


def plan(
    manifest: "Manifest", recipe: "Recipe", counts: tuple[int, ...], repeats: int, init: Path | None
) -> "list[Training]":
    """Return the trainings of the curve that the options ask for."""
    from sidtrain.study import fewpairs

    return fewpairs.plan(manifest, recipe, counts, repeats, init)


def show_plan(trainings: "list[Training]", folder: Path) -> None:
    """Say what would be trained."""
    steps = trainings[0].recipe.steps(1)
    for training in trainings:
        pairs = ", ".join(pair.pair_id for pair in training.chosen.train)
        say(f"would train {folder / training.name}, {counted(steps, 'step')} on {pairs}")


def show(
    ctx: click.Context,
    trainings: "list[Training]",
    manifest: "Manifest",
    folder: Path,
    store_dir: Path,
    jobs: int | None,
) -> None:
    """Train what is not trained yet, judge everything, print the table; leave as a signal asks."""
    from sidtrain.study import fewpairs

    done = 0
    with progress() as report:

        def on_step(training: "Training", at: "Done") -> None:
            report(
                f"training {training.name}", at.step, at.steps, f"loss {at.loss:.4f}", "patches", training.recipe.batch
            )

        going = fewpairs.train(
            trainings,
            manifest,
            folder,
            store_dir,
            jobs=jobs,
            on_store=partial(report, "decoding"),
            on_step=on_step,
            say=cache(say),  # Each line once: most are the same for all trainings.
        )
        for training, result in going:
            if result.step < result.steps:
                say(f"interrupted after {done} of {len(trainings)} trainings; the same command goes on")
                ctx.exit(SIGNALED + result.signal)
            done += 1
            say(f"{done} of {len(trainings)} trainings done: {training.name}")
        curve = fewpairs.draw(trainings, manifest, folder, store_dir, jobs=jobs, progress=report)
    _print(curve)
    say(f"record:  {folder / fewpairs.RECORD}\npicture: {folder / fewpairs.PICTURE}")


def _print(curve: "Curve") -> None:
    console, tables = results(), [_level_table(curve), *([_gain_table(curve)] if curve.gains else [])]
    make_room(console, *tables)
    for table in tables:
        console.print(table)
        console.print()
    if curve.zero_shot:
        click.echo(f"zero-shot, before any training: {curve.zero_shot.mean:.2f} dB")
    click.echo(f"amplified and the best Gaussian, without any network: {curve.gaussian.mean:.2f} dB")
    if curve.validation_pairs:
        role = "chose the step that is kept" if json.loads(curve.recipe)["keep"] == "best" else "told how it went"
        pairs = counted(curve.validation_pairs, "validation pair")
        click.echo(f"{pairs} besides, the same for every training, {role}: shoot as many too.")


def _level_table(curve: "Curve") -> "Table":
    table = empty_table(
        f"{curve.device}, {curve.gaussian.n} {curve.split} scenes, {curve.protocol}",
        "mean over scenes and repeats [95 % interval over scenes]; SD between repeats, by pairs and seed",
    )
    for name in ("pairs", "start", "PSNR / dB", "SD / dB", "each repeat / dB"):
        table.add_column(name, no_wrap=True)
    for level in curve.levels:
        spread = "" if level.subset_sd_db is None else f"{level.subset_sd_db:.2f}"
        each = ", ".join(f"{value:.2f}" for value in level.by_repeat)
        table.add_row(str(level.pairs), level.start, level.psnr_db.words(".2f"), spread, each)
    return table


def _gain_table(curve: "Curve") -> "Table":
    table = empty_table(
        f"Differences, paired by scene, {curve.protocol}",
        "mean [95 % interval over scenes] for these subsets; what others may do, the repeats show",
    )
    for name in ("difference", "PSNR / dB", "each repeat / dB"):
        table.add_column(name, no_wrap=True)
    for gain in curve.gains:
        each = ", ".join(f"{value:+.2f}" for value in gain.by_repeat)
        table.add_row(gain.of, gain.psnr_db.words("+.2f"), each)
    return table
