"""`sidcurate fsck`: find what is damaged on the disk, name it, and say what to do."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sidcurate.cli.console import progress, results, say
from sidcurate.cli.options import devices_option, format_option, manifests_option, runs_option, store_option
from sidcurate.errors import IntegrityError, UsageError

if TYPE_CHECKING:
    from sidcurate.fsck import Examination

JSON_VERSION = 1
COLUMNS = ("kind", "path", "fault", "cure")


@click.command(short_help="Find damage: tables, raws, traces, decoded frames, weights, states.")
@devices_option
@manifests_option
@store_option
@runs_option
@click.option("--deep", is_flag=True, help="Hash every raw and store entry, and read every trace and state.")
@click.option(
    "--bucket",
    metavar="s3://BUCKET/PREFIX",
    default=None,
    help="Ask this store too: are the raws at or below the address, by the listing, those that were ingested?",
)
@format_option
@click.pass_context
def command(
    ctx: click.Context,
    devices: tuple[str, ...],
    manifests_root: Path,
    store_dir: Path,
    runs_root: Path,
    deep: bool,
    bucket: str | None,
    output_format: str,
) -> None:
    """Check tables against SHA256SUMS, raws and traces against the tables, store and weights against their records.

    Nothing is changed. Without --deep, raws that look unchanged, states, and the pixels of traces and of the store are
    not read. Exits 5 where something is damaged.
    """
    from sidcurate import fsck
    from sidcurate.places.objects import Objects

    address = Objects.at(bucket).name if bucket else None
    found = fsck.Examination()
    with progress() as report:
        for directory in _directories(manifests_root, devices):
            fsck.examine_manifest(found, directory, report, deep=deep, bucket=address)
        fsck.examine_store(found, store_dir, report, deep=deep)
    fsck.examine_runs(found, runs_root, deep=deep)
    if not (found.checked or found.left_out):
        raise UsageError(
            f"nothing to look at: no manifest under {manifests_root}, no frame in {store_dir}, no run under "
            f"{runs_root}; go to the folder that holds them, or name them with --manifests, --store and --runs"
        )
    _PRINTERS[output_format](found)
    for left_out in found.left_out:
        say(f"not looked at: {left_out}")
    ctx.exit(IntegrityError.exit_code if found.faults else 0)


def _directories(root: Path, devices: Sequence[str]) -> list[Path]:
    from sidcurate import fsck

    there = fsck.folders(root)
    for device in devices:
        if root / device not in there:
            known = ", ".join(path.name for path in there) or "none"
            raise UsageError(
                f"no manifest of device {device!r} under {root} (there: {known}); --manifests names another folder"
            )
    return [directory for directory in there if not devices or directory.name in devices]


def _print_table(found: "Examination") -> None:
    from rich.text import Text

    console = results()
    for fault in found.faults:
        console.print(Text.assemble((f"{fault.kind} {fault.path}", "bold"), f": {fault.fault}"), soft_wrap=True)
        console.print(f"  {fault.cure}", soft_wrap=True)
    counts = ", ".join(f"{kind} ×{count}" for kind, count in sorted(found.checked.items())) or "nothing"
    console.print(f"{len(found.faults)} damaged; looked at: {counts}", style="bold", soft_wrap=True)


def _print_json(found: "Examination") -> None:
    import json
    from dataclasses import asdict

    faults = [asdict(fault) for fault in found.faults]
    document = {"version": JSON_VERSION, "checked": dict(sorted(found.checked.items())), "faults": faults}
    click.echo(json.dumps({**document, "left_out": found.left_out}, indent=1, ensure_ascii=False))


def _print_csv(found: "Examination") -> None:
    import csv
    import sys

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([getattr(fault, column) for column in COLUMNS] for fault in found.faults)


_PRINTERS = {"table": _print_table, "json": _print_json, "csv": _print_csv}
