"""`sidcurate evaluate`: judge a checkpoint on scenes that it has not seen."""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sidcurate.cli.console import progress, say
from sidcurate.cli.options import (
    device_option,
    format_option,
    jobs_option,
    manifests_option,
    require_train_extra,
    store_option,
)

if TYPE_CHECKING:
    from rich.table import Table

    from sidcurate.schemas import Split
    from sidtrain.intervals import Estimate
    from sidtrain.metrics import SsimVariant
    from sidtrain.scores import Comparison, Evaluation, Summary


@click.command(name="evaluate", short_help="Judge a checkpoint on scenes that it has not seen.")
@device_option
@click.option(
    "--checkpoint",
    "checkpoint_path",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of a run, or its weights file.",
)
@manifests_option
@store_option
@click.option(
    "--out",
    "out_dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the record and the panel.  [default: the checkpoint's]",
)
@click.option("--split", type=click.Choice(["test", "val"]), default="test", show_default=True, help="Scenes to use.")
@click.option(
    "--ssim",
    "ssim_variant",
    type=click.Choice(["gaussian", "uniform7"]),
    default="gaussian",
    show_default=True,
    help="Window of the SSIM: Wang's Gaussian, or scikit-image's flat 7x7.",
)
@jobs_option
@format_option
def command(
    device: str,
    checkpoint_path: Path,
    manifests_root: Path,
    store_dir: Path,
    out_dir: Path | None,
    split: "Split",
    ssim_variant: "SsimVariant",
    jobs: int | None,
    output_format: str,
) -> None:
    """Judge a checkpoint on full frames of a camera's test scenes, beside three trivial pictures.

    The trivial pictures are LibRaw's rendering of the amplified short, that after a Gaussian whose width is chosen on
    training scenes, and the mean color of the training targets. A checkpoint of another camera is evaluated zero-shot.
    """
    require_train_extra()
    from sidcurate import manifests
    from sidtrain.evaluate import evaluate

    manifest = manifests.load(manifests.find(manifests_root, device))
    with progress() as report:
        written = evaluate(
            manifest,
            checkpoint_path,
            store_dir,
            out_dir,
            split=split,
            ssim_variant=ssim_variant,
            jobs=jobs,
            progress=report,
        )
    _PRINTERS[output_format](written.evaluation)
    say(f"record: {written.record}\npanel:  {written.panel}")


def _print_json(evaluation: "Evaluation") -> None:
    click.echo(evaluation.model_dump_json(indent=1))


def _print_csv(evaluation: "Evaluation") -> None:
    rows = [score.model_dump() for score in evaluation.scores]
    writer = csv.DictWriter(sys.stdout, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _print_table(evaluation: "Evaluation") -> None:
    from rich.console import Console

    Console(file=sys.stdout).print(_table(evaluation))
    for line in _sentences(evaluation):
        click.echo(line)


def _sentences(evaluation: "Evaluation") -> Iterator[str]:
    used, network = evaluation.checkpoint, evaluation.summaries[0].psnr_db
    if used.zero_shot:
        yield f"ZERO-SHOT: the network was trained for {used.device}, not for {evaluation.device}."
    if not used.unseen:
        yield "Nobody knows on which scenes the network was trained: it may have seen these."
    if network.low is None:
        yield f"network: {_scenes(network)}"
    for comparison in evaluation.comparisons:
        if comparison.metric == "psnr_db":
            yield f"network against {comparison.against}: {_verdict(comparison)}"
    if evaluation.left_out:
        yield f"{len(evaluation.left_out)} pairs of these scenes were left out by `sidcurate validate`."


def _table(evaluation: "Evaluation") -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(
        box=SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),  # All columns with their intervals in 80 characters.
        title=f"{evaluation.device}, {evaluation.split} scenes, {evaluation.protocol}, SSIM {evaluation.ssim_variant}",
        caption="mean over scenes [95 % t interval]",
        title_justify="left",
        caption_justify="left",
    )
    for name in ("ratio", "picture", "PSNR / dB", "SSIM", "scenes", "frames"):
        table.add_column(name, no_wrap=True)
    for summary in evaluation.summaries:
        table.add_row(*_cells(summary), end_section=summary.picture == "mean-color")
    return table


def _cells(summary: "Summary") -> tuple[str, ...]:
    ratio = "all" if summary.exposure_ratio is None else f"{summary.exposure_ratio:g}"
    psnr, ssim = _interval(summary.psnr_db, 2), _interval(summary.ssim, 3)
    return ratio, summary.picture, psnr, ssim, str(summary.psnr_db.n), str(summary.images)


def _interval(estimate: "Estimate", digits: int) -> str:
    mean = f"{estimate.mean:.{digits}f}"
    if estimate.low is None or estimate.high is None:
        return mean
    return f"{mean} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


def _verdict(comparison: "Comparison") -> str:
    difference = comparison.difference
    return comparison.verdict or f"{_scenes(difference, '+')}; no verdict from n = {difference.n} scenes"


def _scenes(estimate: "Estimate", sign: str = "") -> str:
    return ", ".join(f"{scene} {value:{sign}.1f} dB" for scene, value in estimate.by_scene.items())


_PRINTERS = {"table": _print_table, "json": _print_json, "csv": _print_csv}
