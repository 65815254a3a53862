"""`sidcurate manifest`: whole manifests, such as one made of shards."""

from pathlib import Path

import click

from sidcurate.cli.console import progress, say
from sidcurate.cli.options import dry_run_option, jobs_option, manifests_option
from sidcurate.counted import counted

SOME_UNREADABLE = 3


@click.group(short_help="Make one manifest of shards.")
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
    from sidcurate import merging
    from sidcurate.cli.ingest import pairs_in_words

    with progress() as report:
        merged = merging.merge(folders, manifests_root, jobs=jobs, progress=report, dry_run=dry_run)
    unreadable = int(merged.captures.named("status", ["unreadable"]).sum())
    raws = f"{counted(len(merged.captures), 'raw')} of {counted(len(merged.parts), 'shard')}"
    click.echo(f"{raws}, {unreadable} of them unreadable" if unreadable else raws)
    click.echo(pairs_in_words(merged.pairs))
    click.echo(f"manifest: {merged.directory}")
    say("dry run: nothing was written" if dry_run else f"next: sidcurate validate --device {merged.directory.name}")
    ctx.exit(SOME_UNREADABLE if unreadable else 0)
