"""`sidcurate manifest`: whole manifests, such as one made of shards, or one in a bucket."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sidcurate.cli.console import progress, say, say_what_is_next
from sidcurate.cli.options import dry_run_option, jobs_option, manifests_option
from sidcurate.counted import counted
from sidcurate.errors import UnreadableRawError

if TYPE_CHECKING:
    from sidcurate.sharing.exchange import Moved

traces_option = click.option(
    "--traces",
    is_flag=True,
    help="What is kept of each raw's pixels too: for `validate --explain`, `pair` and `ingest`.",
)
address_argument = click.argument("address", metavar="s3://BUCKET/PREFIX")


@click.group(short_help="Make one manifest of shards; send and bring one by a bucket.")
def command() -> None:
    """Work on whole manifests."""


@command.command(short_help="Make a manifest of all shards of one ingest.")
@click.argument(
    "folders", metavar="DIR...", type=click.Path(path_type=Path, exists=True, file_okay=False), nargs=-1, required=True
)
@manifests_option
@jobs_option
@dry_run_option
@click.pass_context
def merge(ctx: click.Context, folders: tuple[Path, ...], manifests_root: Path, jobs: int | None, dry_run: bool) -> None:
    """Write manifests/DEVICE/ from the folders of all shards that `sidcurate ingest --shard` has made.

    It has the bytes that one ingest of the whole folder would have given it. No raw is read, the shards stay as they
    are: once the manifest is there they can be deleted, and to merge them again changes nothing.
    """
    from sidcurate.cli.ingest import pairs_in_words
    from sidcurate.ingest import merging

    with progress() as report:
        merged = merging.merge(folders, manifests_root, jobs=jobs, progress=report, dry_run=dry_run)
    unreadable = int(merged.captures.named("status", ["unreadable"]).sum())
    raws = f"{counted(len(merged.captures), 'raw')} of {counted(len(merged.parts), 'shard')}"
    click.echo(f"{raws}, {unreadable} of them unreadable" if unreadable else raws)
    click.echo(pairs_in_words((match.scene_id, match.split) for match in merged.pairs))
    click.echo(f"manifest: {merged.directory}")
    say_what_is_next(merged.directory, dry_run=dry_run)
    ctx.exit(UnreadableRawError.exit_code if unreadable else 0)


@command.command(short_help="Send a manifest to a bucket.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False))
@address_argument
@traces_option
@dry_run_option
def push(folder: Path, address: str, traces: bool, dry_run: bool) -> None:
    """Send the manifest in DIR, such as manifests/canon90d, to a bucket, from which others fetch it.

    All its tables change there together. Where somebody else has pushed since this one was fetched, nothing is changed
    and the exit code is 2. Raws are not sent.
    """
    from sidcurate.places.objects import Objects
    from sidcurate.sharing import exchange

    with progress() as report:
        moved = exchange.push(folder, Objects.at(address), traces=traces, dry_run=dry_run, progress=report)
    click.echo(f"{address}: {_in_words(moved, 'to send' if dry_run else 'sent', 'all of it is there already')}")
    if dry_run:
        say("dry run: nothing was sent")


@command.command(short_help="Bring a manifest from a bucket.")
@address_argument
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@traces_option
@dry_run_option
def fetch(address: str, folder: Path, traces: bool, dry_run: bool) -> None:
    """Bring the manifest that was pushed to a bucket into DIR, such as manifests/canon90d.

    Every hash is checked before anything changes here. Rows that were never pushed are not overwritten. The folder of
    the raws is set here, as "root" in source.json.
    """
    from sidcurate import source
    from sidcurate.places.objects import Objects
    from sidcurate.sharing import exchange

    folder = folder if folder.name else folder.resolve()  # Its name is the device's.
    with progress() as report:
        moved = exchange.fetch(Objects.at(address), folder, traces=traces, dry_run=dry_run, progress=report)
    click.echo(f"{folder}: {_in_words(moved, 'to fetch' if dry_run else 'fetched', 'its tables are here already')}")
    if not dry_run and source.read(folder).root is None:
        say(f'the raws are not here: set "root" in {folder / source.FILE} to their folder, or validate with --no-files')
    say_what_is_next(folder, dry_run=dry_run)


def _in_words(moved: "Moved", how: str, nothing: str) -> str:
    words = [counted(count, what) for count, what in ((moved.files, "file"), (moved.traces, "trace")) if count]
    return f"{' and '.join(words)} {how}" if words else nothing
