"""`sidcurate evaluate`: judge checkpoints on scenes that they have not seen."""

import csv
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sidcurate.cli.console import empty_table, make_room, progress, results, say
from sidcurate.cli.options import (
    device_option,
    device_type_option,
    format_option,
    jobs_option,
    manifests_option,
    require_train_extra,
    store_option,
)
from sidcurate.counted import counted

if TYPE_CHECKING:
    from rich.table import Table

    from sidcurate.schemas import Split
    from sidtrain.evaluation.metrics import SsimVariant
    from sidtrain.evaluation.scores import Comparison, Evaluation, NetworkUsed, Summary
    from sidtrain.evaluation.written import Written
    from sidtrain.recipe import DeviceType


@click.command(name="evaluate", short_help="Judge checkpoints on scenes that they have not seen.")
@device_option
@click.option(
    "--checkpoint",
    "checkpoints",
    metavar="[NAME=]PATH",
    multiple=True,
    required=True,
    help="Folder of a run, or its weights file; several are compared in one table.",
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
    "--protocol",
    type=click.Choice(["device-srgb-float-v1", "sid-paper", "sid-00", "sid-00-88", "raw", "seed2-legacy"]),
    help="Frames, space and metrics, by name; the record says in words what it is.  "
    "[default: device-srgb-float-v1; raw for networks that put out planes]",
)
@click.option(
    "--ssim",
    "ssim_variant",
    type=click.Choice(["gaussian", "uniform7"]),
    help="Window of the SSIM where the protocol leaves it open: Wang's Gaussian, or scikit-image's flat 7x7.  "
    "[default: the protocol's]",
)
@device_type_option
@jobs_option
@format_option
def command(
    device: str,
    checkpoints: tuple[str, ...],
    manifests_root: Path,
    store_dir: Path,
    out_dir: Path | None,
    split: "Split",
    protocol: str | None,
    ssim_variant: "SsimVariant | None",
    device_type: "DeviceType",
    jobs: int | None,
    output_format: str,
) -> None:
    """Judge checkpoints on full frames of a camera's test scenes, beside three trivial pictures.

    The trivial pictures are LibRaw's rendering of the amplified short, that after a Gaussian whose width is chosen on
    training scenes, and the mean color of the training targets; for networks that put out planes, the amplified planes
    take the place of the rendering. A checkpoint of another camera is evaluated zero-shot.
    Every scene must be new to every checkpoint.
    """
    require_train_extra()
    from sidcurate import manifests
    from sidtrain.weights import history

    named = _named(checkpoints)
    manifest = manifests.load(manifests.find(manifests_root, device))
    for path in named.values():
        history.require_checkpoint(path)
    from sidtrain.evaluation.evaluate import evaluate  # Loads torch: what is wrong so far is answered without it.
    from sidtrain.training import devices

    with progress() as report, devices.faults_in_words(devices.END_OTHERS):
        written = evaluate(
            manifest,
            named,
            store_dir,
            out_dir,
            split=split,
            protocol=protocol,
            ssim_variant=ssim_variant,
            device=devices.pick(device_type),
            jobs=jobs,
            progress=report,
        )
    _PRINTERS[output_format](written.evaluation)
    _say_where(written)


def _say_where(written: "Written") -> None:
    if written.replaced is not None and written.replaced != written.scenes:
        say(
            f"{written.record} was of {counted(len(written.replaced), 'scene')}, not the same ones, and has been "
            f"replaced by one of {len(written.scenes)}: the two means do not compare; another time --out keeps both"
        )
    say(f"record: {written.record}\npanel:  {written.panel}")


def _named(checkpoints: Sequence[str]) -> dict[str, Path]:
    """Return the checkpoints by name: the one given, else that of the run's folder; a single one needs none."""
    from sidcurate.errors import UsageError
    from sidtrain.evaluation.scores import NETWORK

    named: dict[str, Path] = {}
    for text in checkpoints:
        found = None if Path(text).exists() else re.fullmatch(r"([A-Za-z0-9][\w.-]*)=(.+)", text)
        path = Path(found[2] if found else text)
        name = found[1] if found else NETWORK if len(checkpoints) == 1 else path.resolve().name
        if name in named:
            raise UsageError(f"two checkpoints are named {name!r}; name them, such as --checkpoint scratch={path}")
        named[name] = path
    return named


def _print_json(evaluation: "Evaluation") -> None:
    click.echo(evaluation.model_dump_json(indent=1))


def _print_csv(evaluation: "Evaluation") -> None:
    rows = [score.model_dump() | {"ssim_variant": evaluation.ssim_variant} for score in evaluation.scores]
    writer = csv.DictWriter(sys.stdout, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _print_table(evaluation: "Evaluation") -> None:
    console, tables = results(), (_table(evaluation), _scene_table(evaluation))
    if not console.is_terminal:  # A terminal folds long names; a file and a pipe have room for them.
        make_room(console, *tables)
    for table in tables:
        console.print(table)
        console.print()
    for line in _sentences(evaluation):
        click.echo(line)


def _sentences(evaluation: "Evaluation") -> Iterator[str]:
    for used in evaluation.networks:
        yield f"{used.name}: {_origin(used, evaluation.device)}{_levels(used)}"
    for comparison in evaluation.comparisons:
        if comparison.metric == "psnr_db":
            yield f"{comparison.picture} against {comparison.against}: {_verdict(comparison)}"
    if evaluation.left_out:
        pairs = counted(len(evaluation.left_out), "pair of these scenes was", "pairs of these scenes were")
        yield f"{pairs} left out by `sidcurate validate`."
    if evaluation.outside_protocol:
        pairs = counted(len(evaluation.outside_protocol), "pair of these scenes is", "pairs of these scenes are")
        yield f"{pairs} not judged under {evaluation.protocol}."


def _origin(used: "NetworkUsed", device: str) -> str:
    unknown = "" if used.unseen else " Nobody knows on which scenes the network was trained: it may have seen these."
    if used.origin == "imported":
        return f"imported weights.{unknown}"
    if used.origin == "zero-shot":
        return f"ZERO-SHOT, trained for {used.device}, not for {device}.{unknown}"
    start = f" from {used.initial_weights}" if used.origin == "fine-tuned" else ""
    return f"{used.origin}{start}, {counted(used.step or 0, 'step')}.{unknown}"


def _levels(used: "NetworkUsed") -> str:
    moved, frames = used.levels.get("device", 0), sum(used.levels.values())
    return f" Black: as declared, plus its training pairs' zero error in {moved} of {frames} frames." if moved else ""


def _table(evaluation: "Evaluation") -> "Table":
    table = empty_table(
        f"{evaluation.device}, {evaluation.split} scenes, {evaluation.protocol}, SSIM {evaluation.ssim_variant}",
        "mean over scenes [95 % interval]; n: scenes/frames"
        + (f"\naligned: PSNR after one gain a {evaluation.alignment}" if evaluation.alignment else ""),
    )
    for name in ("ratio", "picture", "PSNR / dB", "aligned", "SSIM", "n"):
        table.add_column(name, no_wrap=name != "picture", overflow="fold")
    for summary in evaluation.summaries:
        table.add_row(*_cells(summary), end_section=summary.picture == evaluation.summaries[-1].picture)
    return table


def _scene_table(evaluation: "Evaluation") -> "Table":
    overall = [summary for summary in evaluation.summaries if summary.exposure_ratio is None]
    first = overall[0].psnr_db.by_scene
    table = empty_table(f"PSNR / dB by scene, {evaluation.protocol}", f"the worst of {overall[0].picture} first")
    for name in ("scene", *(summary.picture for summary in overall)):
        table.add_column(name, overflow="fold", min_width=len("20.88"))
    for scene in sorted(first, key=lambda scene: (first[scene], scene)):
        table.add_row(scene, *(f"{summary.psnr_db.by_scene[scene]:.2f}" for summary in overall))
    return table


def _cells(summary: "Summary") -> tuple[str, ...]:
    ratio = "all" if summary.exposure_ratio is None else f"{summary.exposure_ratio:g}"
    psnr, ssim = summary.psnr_db.words(".2f"), summary.ssim.words(".3f")
    aligned = f"{summary.psnr_aligned_db.mean:.2f}" if summary.psnr_aligned_db else "-"
    return ratio, summary.picture, psnr, aligned, ssim, f"{summary.psnr_db.n}/{summary.images}"


def _verdict(comparison: "Comparison") -> str:
    difference = comparison.difference
    scenes = ", ".join(f"{scene} {value:+.2f} dB" for scene, value in difference.by_scene.items())
    return comparison.verdict or f"{scenes}; no verdict from n = {counted(difference.n, 'scene')}"


_PRINTERS = {"table": _print_table, "json": _print_json, "csv": _print_csv}
