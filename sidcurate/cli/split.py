"""`sidcurate split`: train, val and test by scene."""

from pathlib import Path

import click

from sidcurate.cli.console import say, say_what_is_next
from sidcurate.cli.options import device_option, dry_run_option, manifests_option
from sidcurate.errors import UsageError


@click.command(short_help="Divide the scenes into train, val and test.")
@device_option
@manifests_option
@click.option("--train", type=click.IntRange(min=0), default=None, help="Training scenes.  [default: the rest]")
@click.option("--val", type=click.IntRange(min=0), default=None, help="Validation scenes.  [default: about 10 %]")
@click.option(
    "--test", type=click.IntRange(min=0), default=None, help="Test scenes.  [default: 20 %, five if it can be]"
)
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed draws another division.")
@click.option(
    "--labels",
    "labels_csv",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    default=None,
    help="CSV with scene_id,label: every part gets an equal share of each label.",
)
@dry_run_option
def command(
    device: str,
    manifests_root: Path,
    train: int | None,
    val: int | None,
    test: int | None,
    seed: int,
    labels_csv: Path | None,
    dry_run: bool,
) -> None:
    """Divide the scenes by the hash of their name and the seed: the same on every machine, in every order.

    Scenes that `validate` keeps out as a whole get no part, so validate first. Counts that leave scenes over, such as
    --train 10 --test 10, select a subset. The findings are stale afterwards: validate again.
    """
    from sidcurate import manifests, verdicts
    from sidcurate.pairs import splits
    from sidcurate.schemas import RECORDS, Pair

    manifest = manifests.load(manifests.find(manifests_root, device))
    if reason := verdicts.why_unjudged(manifest):
        say(f"WARNING: scenes with errors count too: {reason} first")
    scenes = {pair.scene_id for pair in verdicts.usable_pairs(manifest)}
    if not scenes:
        raise UsageError(
            f"{device} has no pair without an error, so no scene to divide; see `sidcurate validate --device {device}`"
        )
    counts = splits.counts(len(scenes), train=train, val=val, test=test)
    labels = splits.read_labels(labels_csv) if labels_csv else None
    parts = splits.assign(scenes, counts, seed=seed, labels=labels)
    if not dry_run:
        pairs = splits.apply(manifest.pairs, parts)
        manifests.save(manifest.directory, {Pair: pairs}, based_on=manifests.based_on(manifest, *RECORDS))
    for scene, part in sorted(parts.items(), key=lambda item: (item[1], item[0])):
        click.echo(f"{part}\t{scene}")
    say_what_is_next(manifest.directory, dry_run=dry_run)
