"""Options that several verbs share, defined once."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from sidcurate.source import PairingRules


def _size(ctx: click.Context, parameter: click.Parameter, value: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", value)
    if found is None:
        raise click.BadParameter(f"{value!r} is not HEIGHTxWIDTH in pixels, such as 768x1024", ctx, parameter)
    return int(found[1]), int(found[2])


def slug(name: str) -> str:
    """Return what the manifest of a camera is called, made of the name of the camera or of a folder.

    >>> slug("Canon 90D")
    'canon-90d'

    Raises:
        UsageError: the name has no letter and no digit of ASCII.
    """
    from sidcurate.errors import UsageError

    made = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_")
    if not made:
        raise UsageError(f"no device name can be made of {name!r}; give one with --device, such as --device canon90d")
    return made


def as_device(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Return the slug that an option gives of a camera, or that is made of what it gives."""
    return None if value is None else _as_device(value)


def _as_devices(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(_as_device, values))


def _as_device(name: str) -> str:
    from sidcurate.schemas import SHARDS, SLUG

    return name if re.fullmatch(SLUG, name) and not name.endswith(SHARDS) else slug(name)


def _folder_here(ctx: click.Context, parameter: click.Parameter, value: Path) -> Path:
    if value.parts[:1] == ("s3:",):
        raise click.BadParameter(
            "manifests are in a folder of this machine; `sidcurate manifest push` sends one to a bucket, "
            "`sidcurate manifest fetch` brings it",
            ctx,
            parameter,
        )
    return value


TRAIN_EXTRA = ("safetensors", "scipy", "torch")
_MANIFESTS = Path("manifests")
_STORES = Path("stores")
manifests_option = click.option(
    "--manifests",
    "manifests_root",
    type=click.Path(path_type=Path, file_okay=False),
    callback=_folder_here,
    default=_MANIFESTS,
    show_default=True,
    help="Folder that holds one manifest a device.",
)
device_option = click.option(
    "--device", callback=as_device, required=True, help="Name of the camera, as `ingest` gave it."
)
devices_option = click.option(
    "--device",
    "devices",
    callback=_as_devices,
    multiple=True,
    help="Name of a camera, as `ingest` gave it; repeatable.  [default: all]",
)
format_option = click.option(
    "--format",
    "output_format",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="How to print the result on stdout.",
)
runs_option = click.option(
    "--runs",
    "runs_root",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs"),
    show_default=True,
    help="Folder that holds the runs, by device.",
)
jobs_option = click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=None,
    help="Worker processes.  [default: one a core that this process may use]",
)
table_format_option = click.option(
    "--format",
    "output_format",
    type=click.Choice(["table", "json", "csv", "markdown"]),
    default="table",
    show_default=True,
    help="How to print the result on stdout; markdown is for a README.",
)
dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would be written, and write nothing.")
size_option = click.option(
    "--size", callback=_size, metavar="HxW", default="768x1024", show_default=True, help="Size of a frame in px."
)
megapixel_option = click.option(
    "--size", callback=_size, metavar="HxW", default="896x1152", show_default=True, help="Size of a frame in px."
)
device_type_option = click.option(
    "--device-type",
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    default="auto",
    show_default=True,
    help="Where to compute; auto is a GPU where there is one.",
)
store_option = click.option(
    "--store",
    "store_dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=_STORES,
    show_default=True,
    help="Folder of the decoded frames.",
)
pairs_option = click.option(
    "--pairs",
    "pairs_csv",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    default=None,
    help="CSV with short,long (and scene_id): these are the pairs, and no others.",
)
scene_gap_option = click.option(
    "--scene-gap",
    "scene_gap_s",
    type=click.FloatRange(min=0),
    default=None,
    help="Seconds between two frames that part two scenes.  [default: 60]",
)


def naming(device: str, manifests_root: Path, store_dir: Path = _STORES) -> list[str]:
    """Return the options that name a manifest, and a store, to another verb."""
    elsewhere = [] if manifests_root == _MANIFESTS else ["--manifests", str(manifests_root)]
    elsewhere += [] if store_dir == _STORES else ["--store", str(store_dir)]
    return ["--device", device, *elsewhere]


def pairing_rules(pairs_csv: Path | None, scene_gap_s: float | None) -> "PairingRules | None":
    """Return the pairing that the options ask for; None when they ask for nothing."""
    from sidcurate.pairs.pairing import read_told_pairs
    from sidcurate.source import DEFAULT_SCENE_GAP_S, PairingRules

    if pairs_csv is None and scene_gap_s is None:
        return None
    told = tuple(read_told_pairs(pairs_csv)) if pairs_csv else None
    return PairingRules(scene_gap_s=DEFAULT_SCENE_GAP_S if scene_gap_s is None else scene_gap_s, told=told)


def require_train_extra() -> None:
    """Say what to install where the packages of training are missing; they are looked for, not loaded.

    Raises:
        MissingResourceError: one of them is not there.
    """
    from importlib.util import find_spec

    from sidcurate.errors import MissingResourceError

    # A folder of that name, left by an installation that went wrong or just standing here, has no origin.
    missing = [name for name in TRAIN_EXTRA if (found := find_spec(name)) is None or found.origin is None]
    if missing:
        are = "are" if len(missing) > 1 else "is"
        raise MissingResourceError(f"{', '.join(missing)} {are} not installed: pip install 'sidcurate[train]'")
