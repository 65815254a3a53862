"""`sidcurate enhance`: one raw in, a picture out."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sidcurate.cli.console import progress, say
from sidcurate.cli.options import device_type_option, require_train_extra
from sidcurate.errors import UsageError

if TYPE_CHECKING:
    from sidtrain.enhance import Enhanced
    from sidtrain.recipe import DeviceType

AUTO = "auto"


def _ratio(ctx: click.Context, parameter: click.Parameter, value: str) -> float | None:
    if value == AUTO:
        return None
    try:
        ratio = float(value)
    except ValueError:
        ratio = 0.0
    if not 0 < ratio < float("inf"):
        raise click.BadParameter(f"{value!r} is neither 'auto' nor a positive number, such as 150", ctx, parameter)
    return ratio


@click.command(name="enhance", short_help="Make a picture of one raw with a trained network.")
@click.argument("image", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--checkpoint", required=True, type=click.Path(path_type=Path), help="Folder of a run, or its weights.")
@click.option(
    "--ratio",
    callback=_ratio,
    metavar="NUMBER|auto",
    default=AUTO,
    show_default=True,
    help="What the light above black is multiplied by: how many times longer the exposure should have been. auto takes "
    "the ratio, of those that the network was trained with, at which the mean is 12.7 % of white.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Picture to write, .png, .tif or .tiff.  [default: IMAGE's name as .png in the current folder]",
)
@click.option("--overwrite", is_flag=True, help="Replace a picture that is there.")
@device_type_option
def command(
    image: Path, checkpoint: Path, ratio: float | None, output: Path | None, overwrite: bool, device_type: "DeviceType"
) -> None:
    """Write the network's picture of the raw IMAGE, with 16 bits a channel and upright.

    Black and white are those that the file declares, or the recipe's where it overrides them; a network trained with
    measured levels moves black by the zero error that its training pairs of this camera had. The picture has the
    primaries of sRGB and the curve that LibRaw gave the network's targets, and is taken for sRGB. The raw is only read.
    """
    path = _free_place(image, output, overwrite)
    require_train_extra()
    from sidcurate import rgb16
    from sidtrain.weights import history

    rgb16.require_suffix(path)
    history.require_checkpoint(checkpoint)
    from sidtrain.enhance import enhance  # Loads torch: what is wrong so far is answered without it.

    with progress() as report:
        made = enhance(image, checkpoint, ratio, device_type=device_type, progress=partial(report, "enhancing"))
    for line in _talk(made, told=ratio is not None):
        say(line)
    rgb16.write(path, made.picture)
    click.echo(path)


def _free_place(image: Path, output: Path | None, overwrite: bool) -> Path:
    """Return where the picture goes; the folder of the raws gets none unless it is named."""
    from sidcurate.storage.durable import require_place

    path = output or Path(f"{image.stem}.png")
    if output is None and path.absolute().parent.resolve() == image.resolve().parent:
        raise UsageError(f"{image} is in the current folder, where nothing is written unasked; say where with --output")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"there is no folder {path.parent} for the picture; make it, or name another with --output")
    require_place(path.parent)
    if path.exists() and path.samefile(image):
        raise UsageError(f"{path} is the raw itself; name another picture with --output")
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists; replace it with --overwrite, or name another with --output")
    return path


def _talk(made: "Enhanced", *, told: bool) -> Iterator[str]:
    from sidtrain.data.shot import MIDDLE

    ratio, mean = made.metered.ratio, made.metered.mean
    wanted = "" if told or abs(mean - MIDDLE) < 0.001 else f", where {100 * MIDDLE:.1f} % was wanted"
    chosen = "" if told else " (auto)"
    yield f"ratio {ratio:g}{chosen}: the network's input has a mean of {100 * mean:.1f} % of white{wanted}"
    least, most = made.recipe.ratio_policy.span
    if not least <= ratio <= most:
        known = f"{least:g}" if least == most else f"{least:g} to {most:g}"
        yield f"WARNING: the network was trained with ratios of {known}: it may not know such noise"
    if made.recipe.levels == "measured" and made.levels == "device":
        yield "black: the declared one plus the zero error that the network's training pairs had"
    elif made.recipe.levels == "measured":
        yield (
            "WARNING: black is the declared one: the network was trained with measured zeros, and on no pair of this "
            "camera that told one"
        )
    if made.orientation != 1:
        yield f"turned upright, by orientation {made.orientation} of the header"
