"""`sidcurate pair`: pair the captures of a manifest anew, from a CSV or by another time gap."""

from pathlib import Path

import click

from sidcurate.cli.console import progress, say_what_is_next
from sidcurate.cli.options import (
    device_option,
    dry_run_option,
    manifests_option,
    pairing_rules,
    pairs_option,
    scene_gap_option,
)


@click.command(short_help="Pair the captures anew, without reading a raw.")
@device_option
@manifests_option
@pairs_option
@scene_gap_option
@dry_run_option
def command(
    device: str, manifests_root: Path, pairs_csv: Path | None, scene_gap_s: float | None, dry_run: bool
) -> None:
    """Pair the captures of a manifest anew and say why each pair is one, and each other capture none."""
    from sidcurate import manifests
    from sidcurate.ingest.matching import pair_again
    from sidcurate.source import PairingRules

    rules = pairing_rules(pairs_csv, scene_gap_s) or PairingRules()
    directory = manifests.find(manifests_root, device)
    with progress() as told:
        paired = pair_again(directory, rules, told, dry_run=dry_run)
    for pair_id, short, long, reason in paired.pairs.facts("pair_id", "short_path", "long_path", "reason"):
        click.echo(f"{pair_id}: {short} with {long}, {reason}")
    for path, reason in paired.unpaired.facts("path", "reason"):
        click.echo(f"unpaired {path}: {reason}")
    say_what_is_next(directory, dry_run=dry_run)
