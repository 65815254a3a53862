"""`sidcurate weights`: weights from elsewhere, made into checkpoints of ours."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sidcurate.cli.console import say
from sidcurate.cli.options import as_device, require_train_extra

if TYPE_CHECKING:
    from sidtrain.weights.checkpoint import Order, Sidecar


@click.group(short_help="Make a checkpoint of weights that another program has trained.")
def command() -> None:
    """Bring weights of See-in-the-Dark from elsewhere."""


@command.command(name="import", short_help="Make a checkpoint of a PyTorch port's or TensorFlow's weights.")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--recipe",
    "recipe_name",
    default="sid",
    show_default=True,
    help="Recipe, by name or TOML file, that says which network this is and how its input is made.",
)
@click.option("--device", callback=as_device, help="Name of the camera that they were trained for.  [default: unknown]")
@click.option(
    "--last-layer",
    "told_order",
    type=click.Choice(["color-first", "color-last"]),
    help="How the last layer's channels are ordered in FILE: (color, row, column) as PixelShuffle reads them, or (row, "
    "column, color) as depth_to_space does.  [default: as its program does]",
)
def import_(file: Path, out: Path, recipe_name: str, device: str | None, told_order: "Order | None") -> None:
    """Write FILE's weights as a checkpoint into the new folder OUT, for `finetune --init` and `evaluate --checkpoint`.

    FILE is a state dict of a PyTorch port (.pt, .pth or .safetensors, with layers named conv1_1 and upv6), or arrays of
    TensorFlow under its own names in a NumPy archive (.npz). No code in it is run. What the weights were trained on
    stays unknown, and the checkpoint says so.
    """
    require_train_extra()
    from sidtrain import recipe
    from sidtrain.weights import checkpoint, published

    how = recipe.load(recipe_name)
    checkpoint.require_none(out)
    weights = published.read(file)
    model, sidecar = published.imported(weights, how, device, told_order)
    out.mkdir(parents=True, exist_ok=True)
    checkpoint.save(out, model, sidecar)
    _say_what_is_known(sidecar)
    click.echo(out)


def _say_what_is_known(sidecar: "Sidecar") -> None:
    if sidecar.imported is not None:
        say(f"{sidecar.imported.layout} weights, last layer {sidecar.imported.last_layer} there")
    say(f"trained for {sidecar.device or 'a camera that nobody knows'}, on scenes that nobody knows")
